"""Doing a batch: each of its partitions as the task that it would be by itself, in one process.

A partition has its own key, dataset and manifest, so that what has been done, by a batch or alone, is not done
again. The batch's own output, ``partitions``, has a row per partition and names the dataset of each.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ropewalk.contracts.errors import DataError, FatalError, RetryableError, RopewalkError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import (
    CheckResult,
    DatasetRef,
    Lineage,
    Progress,
    Published,
    Report,
    RowCounts,
    Slice,
    TaskRequest,
)
from ropewalk.kernel.reads import settled
from ropewalk.kernel.task import Task, nobody

if TYPE_CHECKING:
    from ropewalk.kernel.datasets import DatasetStore
    from ropewalk.kernel.stage import Run

PARTITIONS = "partitions"
INDEX = pa.schema(
    [
        pa.field("partition", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("id", pa.string()),  # of the dataset, where the step puts one out
        pa.field("fingerprint", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("flight", pa.string()),
    ]
)
WORST = ("passed", "quarantined", "warned", "failed")
TRIES = 8  # at a partition that another batch does at the same time
PATIENCE = (
    2.0  # seconds that such a one is waited for at first; each time twice as long, more or less
)
AHEAD = 3  # partitions whose commits wait for disks while the next one's work is done
LOOK = 0.05  # seconds between two looks at whether it is done
SHOWN = 5  # failed partitions that an error tells in full

Place = tuple[str, DatasetRef | None]
"""A partition's key, and its dataset where the step puts one out."""


class Index:
    """The partitions of an earlier batch by their names; or a dataset that is every partition's."""

    def __init__(self, ref: DatasetRef, store: DatasetStore) -> None:
        self._whole = None if ref.id.endswith(f"/{PARTITIONS}") else ref
        self._places = {} if self._whole else _places(store.dataset(ref).table(), ref.ticket)

    def dataset(self, partition: str) -> DatasetRef | None:
        """The dataset of a partition."""
        return self._whole or self._place(partition)[1]

    @property
    def shared(self) -> DatasetRef | None:
        """The dataset that is every partition's, where it is one."""
        return self._whole

    def key(self, partition: str) -> str:
        """The key of the task that has done a partition."""
        return self._whole.id.partition("/")[0] if self._whole else self._place(partition)[0]

    def _place(self, partition: str) -> Place:
        if partition not in self._places:
            raise FatalError(
                f"the batch before has no partition {partition}", code="partition_missing"
            )
        return self._places[partition]


def _places(table: pa.Table, ticket: str | None) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for row in table.to_pylist():  # a row per partition
        name, key = row.pop("partition"), row.pop("key")
        found[name] = (key, DatasetRef(**row, ticket=ticket) if row["id"] else None)
    return found


class Parts:
    """The requests of a batch's partitions, each as it would be by itself."""

    def __init__(self, request: TaskRequest, store: DatasetStore) -> None:
        self._request = request
        self._places = {one.partition.name: place for place, one in enumerate(request.batch)}
        self._inputs = {name: Index(ref, store) for name, ref in request.inputs.items()}
        self._upstream = {name: _index_of(key, store) for name, key in request.upstream.items()}

    @property
    def shared(self) -> list[DatasetRef]:
        """The inputs that are the same for all partitions."""
        return [index.shared for index in self._inputs.values() if index.shared is not None]

    def of(self, one: Slice) -> TaskRequest:
        """The request of one partition; each is asked for a microsecond after the one before, however they end.

        So of rows that meet by a key the later partition's stay, as after runs of one partition each.
        """
        name = one.partition.name
        run = self._request.run
        requested = run.requested + self._places[name]
        datasets = {step: index.dataset(name) for step, index in self._inputs.items()}
        return self._request.model_copy(
            update={
                "batch": [],
                "partition": one.partition,
                "run": run.model_copy(update={"requested": requested}),
                "generation": one.generation or self._request.generation,
                "values": {**self._request.values, **one.values},
                "inputs": {step: ref for step, ref in datasets.items() if ref is not None},
                "upstream": {step: found(name) for step, found in self._upstream.items()},
            }
        )


def _index_of(key: str, store: DatasetStore) -> Any:
    """What gives the key of a partition's task, for the step that a batch's key names."""
    manifest = store.manifest(key)
    if manifest is None or PARTITIONS not in manifest.report.outputs:
        return lambda _: key
    return Index(manifest.report.outputs[PARTITIONS], store).key


def only(request: TaskRequest, store: DatasetStore) -> TaskRequest:
    """The request of the only partition of a batch: what is made of it is the batch's own, as a run's page is."""
    return Parts(request, store).of(request.batch[0])


@dataclass
class Batch(Task):
    """A task that does others, and whose report sums up theirs."""

    done: dict[str, Report] = field(default_factory=dict)
    failed: dict[str, RopewalkError] = field(default_factory=dict)
    reused: int = 0
    shared: list[DatasetRef] = field(default_factory=list)

    def each(self, run: Run, explain: Any) -> None:
        """Do every partition that has not been done; one whose data is wrong does not keep the others."""
        parts = Parts(self.request, self.store)
        self.shared = parts.shared
        begun: deque[tuple[TaskRequest, Future[Report]]] = deque()
        with ThreadPoolExecutor(AHEAD, "commit") as commits:
            for number, one in enumerate(self.request.batch):
                self._tell_progress(number, one)
                request = settled(parts.of(one), self.store)
                begun.append((request, self._begin(request, run, commits)))
                if len(begun) > AHEAD:
                    self._take_in(*begun.popleft(), run, explain)
            while begun:
                self._take_in(*begun.popleft(), run, explain)
        self._refuse_failed()

    def _begin(self, request: TaskRequest, run: Run, commits: Executor) -> Future[Report]:
        """Do a partition's work, unless it is done; the commit waits for disks, so the next one's work is beside it."""
        try:
            known = self.store.known(task_key(request))
            if known is None:
                return commits.submit(self._commit, self._made(request, run))
        except Exception as error:  # noqa: BLE001 - `_take_in` tells it, in its turn
            return _told(error)
        self.reused += 1
        return _told(known.report)

    def _take_in(self, request: TaskRequest, begun: Future[Report], run: Run, explain: Any) -> None:
        """Take in what has come of a partition."""
        name = _name(request)
        try:
            try:
                self.done[name] = begun.result()
            except RetryableError as error:
                if error.code != "fenced":
                    raise
                self.done[name] = self._contended(request, run)
        except RetryableError:
            raise
        except Exception as error:
            told = explain(error, self.request)
            if not isinstance(told, DataError | FatalError):
                raise told from error
            self.failed[name] = told
            self.warning(f"{name}: {told}")

    def _contended(self, request: TaskRequest, run: Run) -> Report:
        """Do a partition that another batch does at the same time, or take what that has made."""
        key = task_key(request)
        for turn in range(TRIES):
            self.fence()  # raises where this batch was overtaken; else another does the partition too
            longer = 2**turn * random.uniform(0.5, 1.5)  # noqa: S311 - so that two do not meet again
            self._wait(key, PATIENCE * longer)
            known = self.store.known(key)
            if known is not None:
                self.reused += 1
                return known.report
            try:
                return self._commit(self._made(request, run))
            except RetryableError as error:
                if error.code != "fenced":
                    raise
        raise RetryableError("other batches do the same partitions", code="contended")

    def _open_shared(self) -> None:
        """Open what all partitions read, once one of them is to be done."""
        for ref in self.shared:
            if ref.id not in self.opened:
                self.opened[ref.id] = self.store.dataset(ref)

    def _made(self, request: TaskRequest, run: Run) -> Task:
        """A partition's task, done but for its commit."""
        self._open_shared()
        key = task_key(request)
        scratch = self.scratch / key[:16]
        scratch.mkdir()
        try:
            task = Task(
                request, self.store, self.settings, scratch, key=key, attempt=self.attempt,
                tell=partial(self._pass_on, _name(request)), show=nobody, at=self.at, fence=self.fence,
                opened=self.opened,
            )  # fmt: skip
            with _discarding(task):
                run(task)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        return task

    def _commit(self, task: Task) -> Report:
        try:
            with _discarding(task):
                return task.commit()
        finally:
            shutil.rmtree(task.scratch, ignore_errors=True)

    def _wait(self, key: str, seconds: float) -> None:
        """Return when another batch has done a partition, or seems not to."""
        deadline = time.monotonic() + seconds
        while self.store.manifest(key) is None and time.monotonic() < deadline:
            time.sleep(LOOK)

    def _pass_on(self, name: str, level: str, text: str) -> None:
        """What a partition's task tells: of hundreds only what is not the usual."""
        if level != "info":
            self.tell(level, f"{name}: {text}")

    def _tell_progress(self, number: int, one: Slice) -> None:
        total = len(self.request.batch)
        self.show(
            Progress(
                rows=number, fraction=number / total, message=f"partition {one.partition.name}"
            )
        )

    def _refuse_failed(self) -> None:
        """Raise what tells of the partitions that failed, if any did."""
        if not self.failed:
            return
        first = next(iter(self.failed.values()))
        told = [f"{name}: {error.detail}" for name, error in list(self.failed.items())[:SHOWN]]
        more = f"; and {len(self.failed) - SHOWN} more" if len(self.failed) > SHOWN else ""
        raise type(first)(
            f"{len(self.failed)} of {len(self.request.batch)} partitions failed: {'; '.join(told)}{more}",
            code=first.code, hint=first.hint, file=first.file, line=first.line, column=first.column,
            step=first.step, partitions=self.failed,
        )  # fmt: skip

    def commit(self) -> Report:
        """Put out which partition has which dataset, and all that was set aside, and make it visible."""
        for report in self.done.values():
            if "quarantine" in report.outputs:
                self.quarantine(self.dataset(report.outputs["quarantine"]).table())
        self.output(INDEX, PARTITIONS).write(self._table())
        self.info(f"{len(self.done)} partitions, {self.reused} of them done before")
        return super().commit()

    def _table(self) -> pa.Table:
        rows = [
            {"partition": name, "key": report.key, **(report.output.model_dump() if report.output else {})}
            for name, report in self.done.items()
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, schema=INDEX)

    def _judge(self, outputs: Mapping[str, DatasetRef]) -> None:
        """Every partition has been judged by itself."""

    def _rows(self, outputs: Mapping[str, DatasetRef]) -> RowCounts:  # noqa: ARG002 - as a task's
        """The sum of all partitions' rows."""
        return summed([report.rows for report in self.done.values()])

    def _report(self, outputs: Mapping[str, DatasetRef], rows: RowCounts) -> Report:
        """What all partitions' reports come to."""
        reports = list(self.done.values())
        self.note(f"a batch of {len(reports)} partitions; {self.reused} had been done before")
        own = super()._report(outputs, rows)
        first = reports[0]
        return own.model_copy(
            update={
                "columns": {**first.columns, **own.columns},
                "aside": {
                    name: (one.rows.quarantined, one.rows.quarantined + one.rows.out)
                    for name, one in self.done.items()
                    if one.rows.quarantined
                },
                "checks": _merged(self.done),
                "lineage": _joined(reports),
                "published": _targets(reports, own.partition),
            }
        )


@contextmanager
def _discarding(task: Task) -> Iterator[None]:
    """Of a task that fails nothing stays."""
    try:
        yield
    except BaseException:
        task.draft.discard()
        raise


def _told(outcome: Report | Exception) -> Future[Report]:
    """What is known already."""
    future: Future[Report] = Future()
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
    return future


def _name(request: TaskRequest) -> str:
    return request.partition.name if request.partition else ""


def summed(counts: Sequence[RowCounts]) -> RowCounts:
    """The rows of several tasks of one step together."""
    read = [one.read for one in counts if one.read is not None]
    kinds = {
        one.cardinality for one in counts
    }  # a row of no rows, of each of many: the sum has no equation
    inputs_of_drops = dict.fromkeys(name for one in counts for name in one.dropped_of)
    return RowCounts(
        inputs=_totals(one.inputs for one in counts),
        read=sum(read) if read else None,
        out=sum(one.out for one in counts),
        quarantined=sum(one.quarantined for one in counts),
        dropped=_totals(one.dropped for one in counts),
        dropped_of={
            name: _totals(one.dropped_of.get(name, {}) for one in counts)
            for name in inputs_of_drops
        },
        cardinality="any" if "n:1" in kinds else counts[0].cardinality,
        of=counts[0].of,
    )


def _totals(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)


def _merged(reports: Mapping[str, Report]) -> list[CheckResult]:
    """Each check of the step once: its worst status, and what it said of the first partition that has it."""
    found: list[CheckResult] = []
    for name, report in reports.items():
        for number, check in enumerate(report.checks):
            if number == len(found):
                found.append(check.model_copy(update={"failed": 0, "status": "passed"}))
            so_far = found[number]
            worse = WORST.index(check.status) > WORST.index(so_far.status)
            told = {"status": check.status, "detail": f"{name}: {check.detail}"} if worse else {}
            found[number] = so_far.model_copy(
                update={**told, "failed": so_far.failed + check.failed}
            )
    return found


def _joined(reports: list[Report]) -> Lineage:
    reads = sorted({name for report in reports for name in report.lineage.reads})
    writes = sorted({name for report in reports for name in report.lineage.writes})
    return Lineage(reads=reads, writes=writes, columns=reports[0].lineage.columns)


def _targets(reports: list[Report], partition: str | None) -> list[Published]:
    """Each table once, with the rows of all partitions."""
    found: dict[tuple[Any, ...], Published] = {}
    for one in (target for report in reports for target in report.published):
        key = (one.step, one.target, one.replayed, one.superseded)
        none = {"rows": 0, "left": 0, "partition": partition}
        so_far = found.get(key, one.model_copy(update=none))
        both = {"rows": so_far.rows + one.rows, "left": so_far.left + one.left}
        found[key] = so_far.model_copy(update=both)
    return list(found.values())
