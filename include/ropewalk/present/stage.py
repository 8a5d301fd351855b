"""The present stage: one page of a run, with its charts, and everything that happened to its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ropewalk.kernel.stage import Stage

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task


def run(task: Task) -> None:
    """Render the page."""
    page, options = task.use("page")
    page.function(options, task)


STAGE = Stage(
    "present",
    kinds=("page", "chart"),
    run=run,
    preload=(
        "ropewalk.kernel.no_pandas_yet",
        "pyarrow.compute",
        "numpy.ma",
        "pyarrow.acero",
        "pyarrow.csv",
        "ropewalk.present.report",
        "ropewalk.present.warm",
    ),
    web="ropewalk.present.web:routes",
)
