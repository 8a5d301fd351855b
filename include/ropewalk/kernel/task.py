"""A running task, as a stage's plugins see it: its options, inputs, outputs, and all that its report will say."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ropewalk.contracts.errors import ConfigError, DataError, FatalError, RopewalkError, nearest
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import (
    Cardinality,
    CheckResult,
    ColumnSource,
    DatasetRef,
    Lineage,
    MetricFormat,
    Progress,
    Published,
    Report,
    RowCounts,
    Scalar,
    TaskRequest,
    Use,
)
from ropewalk.contracts.plugins import Plugin, PluginOptions, plugin
from ropewalk.contracts.template import render_options
from ropewalk.kernel.datasets import Dataset, DatasetStore, Writer
from ropewalk.kernel.settings import Connection, Settings, connection

if TYPE_CHECKING:
    from ropewalk.kernel.manifests import Manifest

QUARANTINE = pa.schema(
    [
        pa.field("source", pa.string()),  # the input, file or page that the row came from
        pa.field("line", pa.int64()),  # its line or record number there, from 1, where one is known
        pa.field("rule", pa.string(), nullable=False),  # the check or the parser that refused it
        pa.field("column", pa.string()),  # the column at fault, where it is one
        pa.field("reason", pa.string(), nullable=False),  # one sentence for people
        pa.field("row", pa.string()),  # the row as JSON, or its raw text where it did not parse
    ]
)
SHARE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*%\s*$")

Tell = Callable[[str, str], None]  # level, text
Show = Callable[[Progress], None]
At = Callable[[str], None]  # what is read now
Fence = Callable[[], None]  # raises where the task is no longer this attempt's


def nobody(*_: object) -> None:
    """Whom a task tells what nobody wants to hear."""


@dataclass
class Task:
    """One task while it runs. ``since`` is the watermark that it reads on from: that of the ``previous`` task of
    its step; ``until`` is where it ends, where another task has read on already.

    Plugins read inputs, write outputs and say what they found; nothing of it is visible before the
    kernel commits. ``scratch`` is a folder of the task's own that is removed when it ends. ``opened`` are datasets
    by their ids that somebody has opened and checked: those that a batch's partitions share.
    """

    request: TaskRequest
    store: DatasetStore
    settings: Settings
    scratch: Path
    key: str = ""
    since: Scalar = None
    until: Scalar = None
    previous: str | None = None
    attempt: int = 1
    why: list[str] = field(default_factory=list)
    tell: Tell = nobody
    show: Show = nobody
    at: At = nobody
    fence: Fence = nobody
    counts: dict[str, int] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)
    drops_of: dict[str, dict[str, int]] = field(default_factory=dict)
    records: int | None = None
    cardinality: Cardinality = "any"
    of: str | None = None
    checks: list[CheckResult] = field(default_factory=list)
    metrics: dict[str, Scalar] = field(default_factory=dict)
    formats: dict[str, MetricFormat] = field(default_factory=dict)
    targets: list[Published] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lineage: Lineage = field(default_factory=Lineage)
    watermark: Scalar = None
    opened: dict[str, Dataset] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = datetime.now(UTC)
        self.key = self.key or task_key(self.request)
        self.draft = self.store.draft(self.key, self.attempt)

    @property
    def values(self) -> Mapping[str, Scalar]:
        """The value of every ``{{ … }}`` that the options name, to bind in SQL."""
        return self.request.values

    def use(self, kind: str, index: int = 0) -> tuple[Plugin, Any]:
        """The plugin at ``do[index]`` and its options, with references replaced but in SQL."""
        return self._parsed(kind, self.request.do[index], f"do/{index}")

    def check_uses(self) -> list[tuple[Plugin, Any]]:
        """The checks after the step, and their options."""
        return [
            self._parsed("check", use, f"checks/{i}") for i, use in enumerate(self.request.checks)
        ]

    @cached_property
    def inputs(self) -> dict[str, Dataset]:
        """Every input by its step's name, opened and checked; the report counts their rows."""
        opened = {
            name: self.opened.get(ref.id) or self.store.dataset(ref)
            for name, ref in self.request.inputs.items()
        }
        self.counts |= {name: dataset.rows for name, dataset in opened.items()}
        return opened

    def input(self, name: str) -> Dataset:
        """The input of that name; ConfigError with the nearest name where there is none."""
        if name not in self.inputs:
            raise ConfigError(
                f"the step has no input {name!r}",
                code="unknown_input",
                hint=nearest(name, self.inputs),
            )
        return self.inputs[name]

    def dataset(self, ref: DatasetRef) -> Dataset:
        """Any dataset by its reference (the quarantine of an earlier task, for a page)."""
        return self.store.dataset(ref)

    def reports(self) -> dict[str, Report]:
        """The report of every step that the request names as upstream."""
        found: dict[str, Manifest | None] = {
            s: self.store.known(k) for s, k in self.request.upstream.items()
        }
        missing = sorted(step for step, manifest in found.items() if manifest is None)
        if missing:
            raise FatalError(
                f"the report of step {missing[0]!r} is not in the dataset store",
                code="report_missing",
            )
        return {step: manifest.report for step, manifest in found.items() if manifest}

    def output(self, schema: pa.Schema, name: str = "data") -> Writer:
        """The writer of an output; the steps after this one read ``data``."""
        return self.draft.writer(name, schema)

    def quarantine(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Set rows aside: columns as in ``QUARANTINE``."""
        self._quarantine.write(rows)

    @cached_property
    def _quarantine(self) -> Writer:
        return self.draft.writer("quarantine", QUARANTINE)

    @property
    def quarantined(self) -> int:
        """How many rows have been set aside."""
        return self._quarantine.rows if "_quarantine" in self.__dict__ else 0

    def took(self, rows: int) -> None:
        """Account for rows that came from outside, before anything is done with them."""
        self.records = (self.records or 0) + rows

    def accounts(self, cardinality: Cardinality, of: str | None = None) -> None:
        """Say how rows of an input become rows of the output; the task fails where the counts do not fit."""
        self.cardinality, self.of = cardinality, of

    def drop(self, rule: str, rows: int, of: str | None = None) -> None:
        """Account for rows that a named rule dropped, and whether they were rows of an input."""
        if of is not None:
            rules = self.drops_of.setdefault(of, {})
            rules[rule] = rules.get(rule, 0) + rows
        self.drops[rule] = self.drops.get(rule, 0) + rows

    def checked(self, result: CheckResult) -> None:
        """Record what a check found; a check that fails with ``on_fail: fail`` fails the task at its end."""
        self.checks.append(result)

    def metric(self, name: str, value: Scalar, form: MetricFormat | None = None) -> None:
        """Record a number that the report shows, and how it is written; one that is not finite is none."""
        known = not isinstance(value, float) or math.isfinite(value)  # JSON has no other
        self.metrics[name] = value if known else None
        if form is not None:
            self.formats[name] = form

    def published(self, target: Published) -> None:
        """Record a table or folder that a sink has written."""
        self.targets.append(target)

    def reads(self, *names: str) -> None:
        """Record the outside datasets that were read, as OpenLineage names (``postgres://host/db.table``)."""
        self.lineage = self.lineage.model_copy(
            update={"reads": sorted({*self.lineage.reads, *names})}
        )
        self.at(", ".join(names))

    def writes(self, *names: str) -> None:
        """Record the outside datasets that were written."""
        self.lineage = self.lineage.model_copy(
            update={"writes": sorted({*self.lineage.writes, *names})}
        )

    def column_lineage(self, columns: Mapping[str, list[ColumnSource]]) -> None:
        """Record what each output column is made from."""
        self.lineage = self.lineage.model_copy(update={"columns": dict(columns)})

    def artifact(self, name: str, data: bytes, media_type: str | None = None) -> None:
        """Add a file that becomes visible with the report."""
        self.draft.add_artifact(name, data, media_type)

    def note(self, text: str) -> None:
        """Add a remark to the report."""
        self.notes.append(text)

    def info(self, text: str) -> None:
        """A line for the task's log."""
        self.tell("info", text)

    def warning(self, text: str) -> None:
        """A warning for the task's log."""
        self.tell("warning", text)

    def progress(
        self, rows: int = 0, *, size: int = 0, of: float | None = None, message: str = ""
    ) -> None:
        """Say how far the work is: rows and bytes so far, ``of`` the expected rows where they are known."""
        fraction = min(1.0, rows / of) if of else None
        self.show(Progress(rows=rows, bytes=size, fraction=fraction, message=message))

    def connection(self, name: str) -> Connection:
        """The connection of that name, from this stage's own settings."""
        return connection(name)

    def commit(self) -> Report:
        """Close everything, judge checks and quarantine, and make it visible at once.

        Where another attempt was first, its report is what is returned.
        """
        outputs = self.draft.finish()
        self._judge(outputs)
        rows = self._rows(outputs)
        balance(rows)
        manifest = self.draft.commit(self._report(outputs, rows), before=self.fence)
        return manifest.report

    def _judge(self, outputs: Mapping[str, DatasetRef]) -> None:
        failed = [check for check in self.checks if check.status == "failed"]
        if failed:
            first = failed[0]
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise DataError(
                f"check {first.check} failed: {first.detail}{more}",
                code="check_failed",
                step=self.request.step,
            )
        out = outputs["data"].rows if "data" in outputs else 0
        limit, quarantined = self.request.max_quarantined, self.quarantined
        if limit is not None and quarantined > allowed(limit, out + quarantined):
            raise DataError(
                f"{quarantined} of {out + quarantined} rows are in quarantine: more than max_quarantined {limit}",
                code="max_quarantined",
                step=self.request.step,
            )

    def _rows(self, outputs: Mapping[str, DatasetRef]) -> RowCounts:
        data = outputs.get("data")
        return RowCounts(
            inputs=self.counts,
            read=self.records,
            out=data.rows if data else 0,
            quarantined=self.quarantined,
            dropped=self.drops,
            dropped_of=self.drops_of,
            cardinality=self.cardinality,
            of=self.of,
        )

    def _report(self, outputs: Mapping[str, DatasetRef], rows: RowCounts) -> Report:
        request = self.request
        return Report(
            key=self.key,
            workflow=request.workflow,
            step=request.step,
            stage=request.stage,
            plugins=[use.plugin for use in request.do],
            run=request.run.id,
            partition=request.partition.name if request.partition else None,
            outputs=dict(outputs),
            columns=self.draft.columns(),
            rows=rows,
            checks=self.checks,
            **(self._window() if self.watermark is not None else {}),
            watermark=self.watermark,
            metrics=self.metrics,
            formats=self.formats,
            lineage=self.lineage,
            published=self.targets,
            artifacts=self.draft.artifacts,
            notes=self.notes,
            why=self.why,
            inputs={name: ref.id for name, ref in request.inputs.items()},
            retention=request.retention,
            started=self.started,
            ended=datetime.now(UTC),
        )

    def _window(self) -> dict[str, Any]:
        """What it has read by its cursor, and after whom."""
        return {"since": self.since, "until": self.until, "previous": self.previous}

    def _parsed(self, kind: str, use: Use, place: str) -> tuple[Plugin, PluginOptions]:
        try:
            found = plugin(kind, use.plugin)
            mapping = found.mapping(use.options)
            return found, found.parse(render_options(found.options, mapping, self.values))
        except RopewalkError as error:
            raise located(error, self.request, place) from None


def balance(rows: RowCounts) -> None:
    """FatalError unless every row is accounted for as the task's cardinality wants it."""
    if not rows.unexplained:
        return
    source = rows.of or ("the source" if rows.read is not None else "the inputs")
    raise FatalError(
        f"{rows.came} rows of {source} came in, {rows.out} went on, {rows.quarantined} are in quarantine and"
        f" {rows.lost} were dropped by rules: {abs(rows.unexplained)} too {'many' if rows.unexplained < 0 else 'few'}"
        f" for {rows.cardinality}",
        code="unbalanced",
        hint="the plugin does not account for its rows",
    )


def located(error: RopewalkError, request: TaskRequest, place: str) -> RopewalkError:
    """The error with its place in the workflow file, unless it names one."""
    error.step = error.step or request.step
    if error.file is None and request.origin is not None:
        error.file = request.origin.file
        error.line, error.column = request.origin.places.get(place, (None, None))
    return error


def allowed(limit: str, rows: int) -> float:
    """How many of so many rows may be in quarantine by a limit such as ``1%`` or ``100``."""
    share = SHARE.match(limit)
    if share:
        return rows * float(share.group(1)) / 100
    if not limit.strip().isdigit():
        raise ConfigError(
            f"max_quarantined is rows or percent, not {limit!r}", hint="write 100 or 1%"
        )
    return int(limit)
