"""The example stage."""

from __future__ import annotations

from ropewalk.kernel.stage import Stage
from ropewalk.kernel.task import Task


def run(task: Task) -> None:
    """Have the plugin act."""
    found, options = task.use("example")
    found.function(options, task)


STAGE = Stage("collect", kinds=("example",), run=run, preload=("ropewalk.kernel.no_pandas_yet",))
