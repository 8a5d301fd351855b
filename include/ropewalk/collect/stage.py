"""The collect stage: one source, read once, in bounded batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ropewalk.kernel.stage import Stage

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task


def run(task: Task) -> None:
    """Write what the source reads."""
    source, options = task.use("source")
    reader = source.function(options, task)
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
    preload=(
        "pyarrow.compute",
        "pyarrow.csv",
        "pandas",  # Arrow looks for it when first it takes Python values: 0.25 s in every task
        "duckdb",
        "requests",
        "sqlalchemy.dialects.postgresql.psycopg",
        "ropewalk.collect.files",
        "ropewalk.collect.rest",
        "ropewalk.collect.sql",
    ),
)
