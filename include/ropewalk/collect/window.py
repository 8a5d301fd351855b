"""Which rows of a database a task with a cursor takes: on from its watermark, and what comes late, none twice.

The database itself compares: it is asked for the rows of the window alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.collect.marks import comparable, is_less, kept
from ropewalk.collect.seen import Seen, digests_of_rows

if TYPE_CHECKING:
    from ropewalk.contracts.durations import Length
    from ropewalk.contracts.models import Scalar
    from ropewalk.kernel.task import Task


class Window:
    """The rows of one task: after ``since``, up to ``until``, and late ones in the ``overlap`` before."""

    def __init__(self, task: Task, column: str, start: Scalar, overlap: Length | None) -> None:
        self._task, self._column = task, column
        self._since = task.since if task.since is not None else start
        self._seen = None if overlap is None else Seen(task, overlap)
        self._highest: Any = None

    @property
    def bounds(self) -> tuple[Scalar, Scalar]:
        """Rows after the first and up to the second are read; None is no bound."""
        since = self._since if self._seen is None else self._seen.bound(self._since)
        return since, self._task.until

    def taken(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that no task has taken before; it must be given all that are read."""
        if batch.num_rows == 0:
            return batch
        batch = batch.filter(self._within(batch.column(self._column)))
        values = batch.column(self._column)
        self._rise(values)
        if self._seen is None or batch.num_rows == 0:
            return batch
        digests = digests_of_rows(batch)
        known = self._seen.known(digests)
        self._seen.remember(values, digests, self._highest)
        if found := pc.sum(known).as_py():
            self._task.drop("taken before", found)
        return batch.filter(pc.invert(known))

    def close(self) -> None:
        """Move the watermark, and keep what the next task must know again."""
        since, highest = self._task.since, self._highest
        stays = highest is None or (since is not None and is_less(highest, since))
        self._task.watermark = since if stays else kept(highest)
        if self._seen is not None:
            self._seen.write(self._highest)

    def _within(self, values: pa.Array) -> pa.Array:
        """Which rows are not those that another task went on from."""
        if self._task.until is None:
            return pa.repeat(pa.scalar(True), len(values))
        until = comparable(self._task.until, values.type)
        return pc.fill_null(pc.less_equal(values, until), True)

    def _rise(self, values: pa.Array) -> None:
        found = pc.max(values).as_py()
        if found is not None and (self._highest is None or found > self._highest):
            self._highest = found
