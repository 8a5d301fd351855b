"""What an incremental source reads: on from its watermark, a little before it for rows that come late, none twice.

A row is known by its content. Those of the last ``overlap`` before the watermark are kept, as digests, in an output of
the task, ``seen``; the next task reads that stretch again and drops what it finds there.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.contracts.errors import ConfigError, NotFoundError
from ropewalk.kernel.fingerprint import row_hashes

if TYPE_CHECKING:
    from ropewalk.contracts.models import Scalar
    from ropewalk.kernel.task import Task

SEEN = "seen"
DIGEST = pa.binary(16)
MANY = 1_000_000  # digests after which those that are too old are left out
Length = float | dt.timedelta


class Window:
    """The rows of one task: after ``since``, up to ``until``, and late ones in the ``overlap`` before."""

    def __init__(self, task: Task, column: str, start: Scalar, overlap: Length | None) -> None:
        self._task, self._column, self._overlap = task, column, overlap
        self._since = task.since if task.since is not None else start
        self._before = self._taken_before()
        self._highest: Any = None
        self._read: list[tuple[pa.Array, pa.Array]] = []
        self._count = 0

    @property
    def bounds(self) -> tuple[Scalar, Scalar]:
        """Rows after the first and up to the second are read; None is no bound."""
        back = self._overlap is not None and self._before is not None
        return (less(self._since, self._overlap) if back else self._since), self._task.until

    def taken(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that no task has taken before; it must be given all that are read."""
        if batch.num_rows == 0:
            return batch
        values = batch.column(self._column)
        batch = batch.filter(self._within(values))
        if self._overlap is None or batch.num_rows == 0:
            self._rise(batch.column(self._column))
            return batch
        digests = _digests(batch)
        self._rise(batch.column(self._column))
        self._remember(batch.column(self._column), digests)
        if self._before is None:
            return batch
        known = pc.is_in(digests, value_set=self._before)
        self._task.drop("taken before", pc.sum(known).as_py() or 0)
        return batch.filter(pc.invert(known))

    def close(self) -> None:
        """Move the watermark, and keep what the next task must know again."""
        highest = _plain(self._highest)
        since = self._task.since
        self._task.watermark = since if highest is None else highest
        if since is not None and highest is not None and highest < since:
            self._task.watermark = since
        if self._overlap is not None:
            self._prune()
            digests = [digests for _, digests in self._read] or [pa.array([], DIGEST)]
            kept = [
                *digests,
                *([self._before] if self._highest is None and self._before is not None else []),
            ]
            table = pa.table({"digest": pa.chunked_array(kept, DIGEST)})
            self._task.output(table.schema, SEEN).write(table)

    def _within(self, values: pa.Array) -> pa.Array:
        """Which rows are not those that another task went on from."""
        if self._task.until is None:
            return pa.array(np.ones(len(values), bool))
        until = pa.scalar(_typed(self._task.until, values.type)).cast(values.type)
        return pc.fill_null(pc.less_equal(values, until), True)

    def _rise(self, values: pa.Array) -> None:
        found = pc.max(values).as_py()
        if found is not None and (self._highest is None or found > self._highest):
            self._highest = found

    def _remember(self, values: pa.Array, digests: pa.Array) -> None:
        self._read.append((values, digests))
        self._count += len(digests)
        if self._count > MANY:
            self._prune()

    def _prune(self) -> None:
        """Leave out what lies further back than the next task will look."""
        if self._highest is None:
            return
        kept = []
        for values, digests in self._read:
            bound = pa.scalar(less(self._highest, self._overlap)).cast(values.type)
            recent = pc.fill_null(pc.greater(values, bound), False)
            kept.append((values.filter(recent), digests.filter(recent)))
        self._read = kept
        self._count = sum(len(digests) for _, digests in kept)

    def _taken_before(self) -> pa.Array | None:
        """The digests that the task before has left; None where it left none, and nothing is read again."""
        if self._overlap is None or self._task.previous is None:
            return None
        manifest = self._task.store.manifest(self._task.previous)
        if manifest is None or SEEN not in manifest.report.outputs:
            return None
        try:
            table = self._task.dataset(manifest.report.outputs[SEEN]).table()
        except NotFoundError:
            return None
        return table["digest"].combine_chunks()


def less(value: Any, overlap: Length | None) -> Any:
    """A cursor's value so much before another; ConfigError where the one is no measure of the other."""
    if value is None or overlap is None:
        return value
    typed = _typed(value, None)
    try:
        return _plain(typed - overlap) if isinstance(value, str) else typed - overlap
    except TypeError:
        raise ConfigError(
            f"the cursor's values are such as {value!r}, from which {overlap} cannot be taken",
            code="overlap",
            hint="overlap: 2h goes with times, overlap: 100 with numbers",
        ) from None


def _typed(value: Any, kind: pa.DataType | None) -> Any:
    """A watermark as the column has it: times are kept as ISO texts."""
    if not isinstance(value, str) or (kind is not None and pa.types.is_string(kind)):
        return value
    try:
        return (
            dt.date.fromisoformat(value)
            if len(value) == len("2013-01-01")
            else dt.datetime.fromisoformat(value)
        )
    except ValueError:
        return value


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.date | dt.datetime) else value


def _digests(batch: pa.RecordBatch) -> pa.Array:
    """128 bits a row: two digests that mix the columns in different orders."""
    with np.errstate(over="ignore"):
        both = np.stack(
            [row_hashes(batch), row_hashes(batch.select(batch.schema.names[::-1]))], axis=1
        )
    data = pa.py_buffer(np.ascontiguousarray(both).tobytes())
    return pa.Array.from_buffers(DIGEST, batch.num_rows, [None, data])
