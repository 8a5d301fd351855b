"""The process stage: a chain of transforms, compiled to one query, and the checks after it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ropewalk.kernel.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ropewalk.kernel.stage import Run
    from ropewalk.kernel.task import Task


def run(task: Task) -> None:
    """Compile everything, refuse what is wrong, then read the result once."""
    with session(task) as process:
        process(task)


@contextmanager
def session(task: Task) -> Iterator[Run]:
    """One DuckDB, and a query that partitions of the same columns share."""
    from ropewalk.kernel.duck import duck
    from ropewalk.process.engine import Engine

    with duck(task) as connection:
        yield Engine(connection).process


STAGE = Stage(
    "process",
    kinds=("transform", "check"),
    run=run,
    session=session,
    preload=(
        "duckdb",
        "pyarrow.compute",
        "pandas",
        "sqlglot.optimizer",
        "sqlglot.dialects.duckdb",
        "ropewalk.process.engine",
    ),
)
