"""The store stage: one sink, which commits what it publishes by itself, once per task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ropewalk.kernel.stage import Stage

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task


def run(task: Task) -> None:
    """Have the sink write all inputs."""
    sink, options = task.use("sink")
    sink.function(options, task)


STAGE = Stage(
    "store",
    kinds=("sink",),
    run=run,
    preload=("ropewalk.kernel.no_pandas_yet", "pyarrow.compute", "ropewalk.store.postgres"),
    names="ropewalk.store.current:current",
    mend="ropewalk.store.in_doubt:mend",
)
