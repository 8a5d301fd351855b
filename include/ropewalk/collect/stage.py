"""The collect stage: one source, read once, in bounded batches."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ropewalk.kernel.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from ropewalk.contracts.plugins import Plugin
    from ropewalk.kernel.stage import Run
    from ropewalk.kernel.task import Task


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
    writer = task.output(reader.schema)
    for batch in reader:
        writer.write(batch)
        task.progress(writer.rows)
    if task.records is not None:
        task.accounts("filter")
    task.info(f"{source.name}: {writer.rows:,} rows")


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
