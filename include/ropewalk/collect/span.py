"""Which records of an API a task with a cursor takes: after its watermark, up to where another task has read on.

The server is asked from the watermark on, and may answer with more: with the record of the watermark itself, as one
that compares with >= does, or with all it has. Values are compared as their column has them: instants as such.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.collect.convert import UTC, to_type
from ropewalk.contracts.errors import DataError

if TYPE_CHECKING:
    from ropewalk.contracts.models import Scalar
    from ropewalk.kernel.task import Task

BEFORE, LATER, WITHOUT = "taken before", "taken by a later run", "without a cursor"


class Span:
    """The records of one task by a field of theirs, and the highest of them, from which the next task reads on."""

    def __init__(self, task: Task, field: str) -> None:
        self._task, self._field = task, field
        self._highest: Any = None
        self._watermark: Scalar = task.since

    def taken(self, batch: pa.RecordBatch, kind: pa.DataType) -> pa.Array:
        """Which rows are this task's; a value that is none of its type is left to be set aside."""
        said = batch.column(self._field)
        values, _ = to_type(said, UTC if pa.types.is_date(kind) else kind)
        inside = self._inside(values, pc.is_null(said))
        self._rise(values.filter(inside), said.filter(inside))
        return inside

    def close(self) -> None:
        """Move the watermark to the highest value that was taken, as the server writes it."""
        self._task.watermark = self._watermark

    def _inside(self, values: pa.Array, lacking: pa.Array) -> pa.Array:
        since, until = self._task.since, self._task.until
        late = self._is(pc.less_equal, values, since)
        beyond = self._is(pc.greater, values, until)
        nowhere = pc.and_(lacking, pa.scalar(since is not None))
        for rule, rows in ((BEFORE, late), (LATER, beyond), (WITHOUT, nowhere)):
            if found := pc.sum(rows).as_py():
                self._task.drop(rule, found)
        return pc.invert(pc.or_(pc.or_(late, beyond), nowhere))

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
        if highest.is_valid and (self._highest is None or highest.as_py() > self._highest):
            self._highest = highest.as_py()
            told = said[pc.index(values, highest).as_py()].as_py()
            self._watermark = told.isoformat() if isinstance(told, datetime) else told
