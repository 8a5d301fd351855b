"""The one pass over a step's result: rows that go on, rows that are set aside, and what each check has counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.contracts.errors import DataError
from ropewalk.contracts.models import CheckResult
from ropewalk.kernel.datasets import BATCH_ROWS
from ropewalk.kernel.task import QUARANTINE
from ropewalk.process.audit import RESULT, Asked, Audit, Judge
from ropewalk.process.binding import running

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ropewalk.kernel.datasets import Writer
    from ropewalk.kernel.task import Task
    from ropewalk.process.relations import Relations

ORDERED = (
    pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_temporal,
    pa.types.is_string, pa.types.is_large_string,
)  # fmt: skip


@dataclass
class Tally:
    """How many rows have failed a check so far, and the extremes of the values at fault."""

    failed: int = 0
    smallest: Any = None
    largest: Any = None

    def count(self, mask: pa.Array, values: pa.Array | None) -> None:
        """Add a batch's failing rows."""
        failed = pc.sum(mask).as_py() or 0
        self.failed += failed
        if failed and values is not None and any(kind(values.type) for kind in ORDERED):
            ends = pc.min_max(_text_of_instants(values.filter(mask)))
            self._widen(ends["min"].as_py(), ends["max"].as_py())

    def _widen(self, low: Any, high: Any) -> None:
        if low is not None:
            self.smallest = low if self.smallest is None else min(self.smallest, low)
            self.largest = high if self.largest is None else max(self.largest, high)


class Pass:
    """Reads the audited query once and hands its rows to the task."""

    def __init__(self, task: Task, relations: Relations, audit: Audit) -> None:
        self.task, self.relations, self.audit = task, relations, audit
        self.tallies = {id(one): Tally() for one in audit.asked}
        self.seen = self.good = 0
        self._kept: pa.ipc.RecordBatchFileWriter | None = None
        self._path = task.scratch / "kept.arrow"

    def run(self) -> None:
        """Read everything, then let the checks of the whole judge it."""
        text, parameters = self.relations.statement(self.audit.query)
        with running():
            reader = self.relations.connection.sql(text, params=parameters).to_arrow_reader(
                BATCH_ROWS
            )
            schema = pa.schema([reader.schema.field(i) for i in range(len(self.audit.columns))])
            self._read(reader, self.task.output(schema), schema)
        for result in self._results():
            self.task.checked(result)

    def _read(self, reader: pa.RecordBatchReader, out: Writer, schema: pa.Schema) -> None:
        wanted = [schema.field(name) for name in self.audit.kept]
        if wanted:
            self._kept = pa.ipc.new_file(str(self._path), pa.schema(wanted))
        for batch in reader:
            self._take(batch, out)
            self.task.progress(self.seen)
        if self._kept is not None:
            self._kept.close()

    def _take(self, batch: pa.RecordBatch, out: Writer) -> None:
        self.seen += batch.num_rows
        if self.audit.sets_aside:
            batch = self._set_aside(batch)
        self.good += batch.num_rows
        self._flag(batch)
        out.write(batch.select(range(len(self.audit.columns))))
        if self._kept is not None and batch.num_rows:
            self._kept.write_batch(batch.select(self.audit.kept))

    def _set_aside(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows without a tag; those with one go to quarantine."""
        tags = batch.column(len(self.audit.columns))
        if tags.null_count == len(tags):
            return batch
        bad = batch.filter(tags.is_valid())
        self._count_tags(bad)
        self.task.quarantine(self._quarantine(bad))
        return batch.filter(tags.is_null())

    def _count_tags(self, bad: pa.RecordBatch) -> None:
        tags = bad.column(len(self.audit.columns))
        for number, judge in enumerate(self.audit.tags, start=1):
            tally = self.tallies[id(judge.asked)]
            tally.count(pc.equal(tags, number), self._values(bad, judge))

    def _quarantine(self, bad: pa.RecordBatch) -> pa.Table:
        width = len(self.audit.columns)
        index = pc.subtract(bad.column(width), 1)
        names = pa.array([judge.asked.name for judge in self.audit.tags])
        columns = pa.array([judge.rule.column for judge in self.audit.tags], pa.string())
        source = pa.array([self.task.request.step]).take(pa.array([0] * bad.num_rows, pa.int8()))
        return pa.table(
            [
                source,
                pa.nulls(bad.num_rows, pa.int64()),
                names.take(index),
                columns.take(index),
                bad.column(width + 1),
                bad.column(width + 2),
            ],
            schema=QUARANTINE,
        )

    def _flag(self, batch: pa.RecordBatch) -> None:
        """Count the rows that go on and fail a check which lets them."""
        first = len(self.audit.columns) + (3 if self.audit.sets_aside else 0)
        masks: dict[int, pa.Array] = {}
        for index, judge in enumerate(self.audit.flags):
            mask = pc.fill_null(batch.column(first + index), False)
            before = masks.get(id(judge.asked))
            fresh = mask if before is None else pc.and_not(mask, before)
            masks[id(judge.asked)] = mask if before is None else pc.or_(mask, before)
            self.tallies[id(judge.asked)].count(fresh, self._values(batch, judge))

    def _values(self, batch: pa.RecordBatch, judge: Judge) -> pa.Array | None:
        column = judge.rule.column
        return None if column is None else batch.column(self.audit.columns.index(column))

    def _results(self) -> Iterable[CheckResult]:
        if self.audit.later:
            whole = self._whole()
            self.relations.connection.register(RESULT, whole)
        for one in self.audit.asked:
            if one.on_fail == "quarantine":
                yield self._result(one, self.seen, self.tallies[id(one)])
            elif one.check.query is None:
                yield self._result(one, self.good, self.tallies[id(one)])
            else:
                yield self._judged(one)

    def _whole(self) -> pa.Table:
        return pa.ipc.open_file(pa.memory_map(str(self._path))).read_all()

    def _judged(self, one: Asked) -> CheckResult:
        if one.check.query is None:
            raise DataError(f"check {one.name} asks nothing", code="check")
        text, parameters = self.relations.statement(one.check.query)
        with running():
            rows = self.relations.connection.execute(text, parameters).fetchall()
        failed, detail = rows[0]
        return self._result(one, self.good, Tally(int(failed or 0)), detail)

    def _result(
        self, one: Asked, rows: int, tally: Tally, detail: str | None = None
    ) -> CheckResult:
        failed = tally.failed
        status = {"fail": "failed", "warn": "warned", "quarantine": "quarantined"}[one.on_fail]
        head = f"{failed} of {rows} rows: " if failed and one.check.columns else ""
        tail = detail or _extremes(tally)
        return CheckResult.model_validate(
            {
                "check": one.name,
                "columns": one.check.columns,
                "status": status if failed else "passed",
                "on_fail": one.on_fail,
                "failed": failed,
                "detail": f"{head}{one.check.claim}" + (f"; {tail}" if failed and tail else ""),
            }
        )


def _extremes(tally: Tally) -> str:
    if tally.smallest is None:
        return ""
    if tally.smallest == tally.largest:
        return f"for example {tally.smallest}"
    return f"smallest {tally.smallest}, largest {tally.largest}"


def _text_of_instants(values: pa.Array) -> pa.Array:
    """Instants as texts, which sort as they do: Python needs no time zones for them."""
    return values.cast(pa.string()) if pa.types.is_timestamp(values.type) else values
