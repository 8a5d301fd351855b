"""Which records of an API a task with a cursor takes: after its watermark, up to where another task has read on.

With an ``overlap`` those too that come late, in the stretch before the watermark, and none twice. The server is asked
from there on, and may answer with more: with the record of the bound itself, as one that compares with >= does, or with
all it has. Values are compared as their column has them: instants as such.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.collect.convert import UTC, to_type
from ropewalk.collect.seen import Seen
from ropewalk.contracts.errors import DataError

if TYPE_CHECKING:
    from ropewalk.contracts.durations import Length
    from ropewalk.contracts.models import Scalar
    from ropewalk.kernel.task import Task

BEFORE, LATER, WITHOUT = "taken before", "taken by a later run", "without a cursor"


class Span:
    """The records of one task by a field of theirs, and the highest of them, from which the next task reads on."""

    def __init__(self, task: Task, field: str, overlap: Length | None) -> None:
        self._task, self._field = task, field
        self._seen = None if overlap is None else Seen(task, overlap)
        self._highest: Any = None
        self._watermark: Scalar = task.since

    @property
    def since(self) -> Scalar:
        """From where on records are taken; None for all."""
        return self._task.since if self._seen is None else self._seen.bound(self._task.since)

    def taken(self, batch: pa.RecordBatch, kind: pa.DataType, texts: pa.Array | None) -> pa.Array:
        """Which rows are this task's; a value that is none of its type is left to be set aside.

        ``texts`` are digests of the records, by which they are known where there is an ``overlap``.
        """
        said = batch.column(self._field)
        if self._seen is not None and pa.types.is_date(kind):
            self._seen.check_days(said)
        values, _ = to_type(said, UTC if pa.types.is_date(kind) else kind)
        inside = self._inside(values, pc.is_null(said))
        self._rise(values.filter(inside), said.filter(inside))
        if self._seen is None or texts is None:
            return inside
        known = pc.and_(inside, self._seen.known(texts))
        self._seen.remember(values.filter(inside), texts.filter(inside), self._highest)
        self._drop(BEFORE, known)
        return pc.and_not(inside, known)

    def close(self) -> None:
        """Move the watermark to the highest value that was taken, as the server writes it."""
        self._task.watermark = self._watermark
        if self._seen is not None:
            self._seen.write(self._highest)

    def _inside(self, values: pa.Array, lacking: pa.Array) -> pa.Array:
        since, until = self.since, self._task.until
        late = self._is(pc.less_equal, values, since)
        beyond = self._is(pc.greater, values, until)
        nowhere = pc.and_(lacking, pa.scalar(since is not None))
        for rule, rows in ((BEFORE, late), (LATER, beyond), (WITHOUT, nowhere)):
            self._drop(rule, rows)
        return pc.invert(pc.or_(pc.or_(late, beyond), nowhere))

    def _drop(self, rule: str, rows: pa.Array) -> None:
        if found := pc.sum(rows).as_py():
            self._task.drop(rule, found)

    def _is(self, compare: Any, values: pa.Array, bound: Scalar) -> pa.Array:
        """Where the values compare so with a bound; nowhere, where there is none."""
        if bound is None or values.null_count == len(values):
            return pa.repeat(pa.scalar(False), len(values))
        return pc.fill_null(compare(values, self._comparable(bound, values.type)), False)

    def _comparable(self, bound: Scalar, kind: pa.DataType) -> pa.Scalar:
        """A watermark as a column's value: that of an earlier answer, which may have had another type."""
        one = pa.array([bound])
        number = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
        if any(one(kind) for one in number) and not isinstance(bound, str):
            return one[0]
        found, bad = to_type(one, kind)
        if isinstance(bound, str) and not len(bad):
            return found[0]
        raise DataError(
            f"the values of {self._field!r}, of type {kind}, do not compare with the watermark {bound!r}",
            code="cursor",
            hint=f"columns: {{{self._field}: …}} says the type",
        )

    def _rise(self, values: pa.Array, said: pa.Array) -> None:
        highest = pc.max(values)
        if not highest.is_valid or (self._highest is not None and highest.as_py() <= self._highest):
            return
        self._highest = highest.as_py()
        at = pc.index(values, highest).as_py()
        if not self._is(pc.less_equal, values.slice(at, 1), self._task.since)[0].as_py():
            told = said[at].as_py()
            self._watermark = told.isoformat() if isinstance(told, datetime) else told
