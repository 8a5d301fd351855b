"""The analyze stage: one analysis over its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ropewalk.kernel.stage import Stage

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task


def run(task: Task) -> None:
    """Write what the analysis finds."""
    analysis, options = task.use("analysis")
    found = analysis.function(options, task)
    writer = task.output(found.schema)
    for batch in found.to_batches() if hasattr(found, "to_batches") else found:
        writer.write(batch)
        task.progress(writer.rows)
    task.info(f"{analysis.name}: {writer.rows:,} rows")


STAGE = Stage(
    "analyze",
    kinds=("analysis",),
    run=run,
    preload=("pyarrow.compute", "pandas", "scipy.special", "ropewalk.analyze.ols"),
)
