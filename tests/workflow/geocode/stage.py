"""The stage."""

from __future__ import annotations

from ropewalk.kernel.stage import Stage
from ropewalk.kernel.task import Task


def run(task: Task) -> None:
    """Have the plugin find."""
    found, options = task.use("geocoder")
    found.function(options, task)


STAGE = Stage("geocode", kinds=("geocoder",), run=run)
