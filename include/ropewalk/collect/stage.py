"""The collect stage: one source, read once, in bounded batches."""

from __future__ import annotations

import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ropewalk.contracts.errors import DataError
from ropewalk.kernel.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from ropewalk.contracts.plugins import Plugin
    from ropewalk.kernel.stage import Run
    from ropewalk.kernel.task import Task

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, marks of direction, joiners, line ends
LONGEST_NAME = 1_000


def run(task: Task) -> None:
    """Write what the source reads."""
    source, options = task.use("source")
    _write(task, source, _read(source, options, task))


@contextmanager
def session(batch: Task) -> Iterator[Run]:
    """What partitions read alike is read once."""
    from ropewalk.collect.shared import Shared
    from ropewalk.kernel.duck import duck

    with duck(batch) as connection:
        shared = Shared(batch, connection)

        def one(task: Task) -> None:
            source, options = task.use("source")
            rows = shared.rows(source, options, task)
            _write(task, source, _read(source, options, task) if rows is None else rows)

        yield one


def _read(source: Plugin, options: Any, task: Task) -> pa.RecordBatchReader:
    from ropewalk.collect.belonging import only_belonging

    reader: pa.RecordBatchReader = source.function(options, task)
    column, partition = getattr(options, "partition_by", None), task.request.partition
    return only_belonging(reader, column, partition, task) if column and partition else reader


def _write(task: Task, source: Plugin, reader: pa.RecordBatchReader) -> None:
    check_names(reader.schema.names)
    writer = task.output(reader.schema)
    for batch in reader:
        writer.write(batch)
        task.progress(writer.rows)
    if task.records is not None:
        task.accounts("filter")
    task.info(f"{source.name}: {writer.rows:,} rows")


def check_names(names: Sequence[str]) -> None:
    """DataError for names of columns that no reader could tell apart, or that are not what they look like."""
    seen: dict[str, str] = {}
    for name in names:
        hidden = next((c for c in name if unicodedata.category(c) in HIDDEN), None)
        if hidden is not None or not name.strip() or len(name) > LONGEST_NAME:
            what = f"the character U+{ord(hidden):04X}" if hidden else f"{len(name)} characters"
            raise DataError(
                f"the column name {name[:40]!r} has {what}", code="header", field=name[:40]
            )
        plain = unicodedata.normalize("NFC", name).casefold()
        if plain in seen:
            raise DataError(
                f"the columns {seen[plain]!r} and {name!r} differ in nothing that SQL tells apart",
                code="header",
                field=name,
                hint="read one of them: select",
            )
        seen[plain] = name


STAGE = Stage(
    "collect",
    kinds=("source",),
    run=run,
    session=session,
    preload=(
        "pyarrow.compute",
        "pyarrow.csv",
        "pyarrow.fs",
        "pandas",  # Arrow looks for it when first it takes Python values: 0.25 s in every task
        "duckdb",
        "requests",
        "stamina",
        "psycopg",
        "sqlalchemy.dialects.postgresql.psycopg",
        "ropewalk.collect.files",
        "ropewalk.collect.rest",
        "ropewalk.collect.sql",
        "ropewalk.collect.shared",
    ),
)
