"""The process stage: a chain of transforms, compiled to one query, and the checks after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ropewalk.kernel.stage import Stage

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task


def run(task: Task) -> None:
    """Compile everything, refuse what is wrong, then read the result once."""
    from ropewalk.kernel.duck import duck
    from ropewalk.process.engine import process

    with duck(task) as connection:
        process(task, connection)


STAGE = Stage(
    "process",
    kinds=("transform", "check"),
    run=run,
    preload=("duckdb", "pyarrow.compute", "pandas", "sqlglot.optimizer", "ropewalk.process.engine"),
)
