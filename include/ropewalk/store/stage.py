"""The store stage: one sink, which commits what it publishes by itself, once per task."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ropewalk.contracts.errors import FatalError
from ropewalk.kernel.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ropewalk.kernel.stage import Run
    from ropewalk.kernel.task import Task


def run(task: Task) -> None:
    """Have the sink write all inputs; FatalError where it has not accounted for each of their rows."""
    sink, options = task.use("sink")
    sink.function(options, task)
    told = {
        step: [one.rows + one.left for one in task.targets if one.step == step]
        for step in task.inputs
    }
    for step, dataset in task.inputs.items():
        if not told[step] or any(rows != dataset.rows for rows in told[step]):
            written = " and ".join(map(str, told[step])) or "none"
            raise FatalError(
                f"{dataset.rows} rows of {step} came in, and the sink has published {written}",
                code="unbalanced",
                hint="the plugin does not account for its rows",
            )


@contextmanager
def session(_: Task) -> Iterator[Run]:
    """Partitions of a batch share their sessions with the databases."""
    from ropewalk.store.sessions import kept

    with kept():
        yield run


STAGE = Stage(
    "store",
    kinds=("sink",),
    run=run,
    session=session,
    preload=("ropewalk.kernel.no_pandas_yet", "pyarrow.compute", "ropewalk.store.postgres"),
    names="ropewalk.store.current:current",
    mend="ropewalk.store.in_doubt:mend",
)
