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
    task.info(f"{source.name}: {writer.rows:,} rows")


STAGE = Stage(
    "collect", kinds=("source",), run=run, preload=("pyarrow.compute", "pyarrow.csv", "duckdb")
)
