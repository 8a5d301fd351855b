"""A bench for plugins: runs one task of a stage in this process, on a dataset store of the test's own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from ropewalk.contracts.models import (
    DatasetRef,
    Partition,
    Report,
    RunInfo,
    Scalar,
    TaskRequest,
    Use,
)
from ropewalk.contracts.plugins import STAGE_KIND, plugin
from ropewalk.kernel.perform import open_store, perform
from ropewalk.kernel.settings import Settings
from ropewalk.kernel.stage import built_in, load

DAY = Partition(
    start=datetime(2013, 1, 1, 5, tzinfo=UTC),
    end=datetime(2013, 1, 2, 5, tzinfo=UTC),
    name="2013-01-01",
)


class TaskBench:
    """Runs tasks as a stage does; every run is a new task unless ``generation`` says otherwise."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        url = (folder / "store").as_uri()
        self.settings = Settings.model_validate(
            {"store_url": url, "scratch_dir": folder / "scratch", **settings}
        )
        self.store = open_store(self.settings)
        self.logged: list[tuple[str, str]] = []
        self._numbers = itertools.count()

    def dataset(self, name: str, table: pa.Table) -> DatasetRef:
        """A dataset with the rows of a table."""
        draft = self.store.draft(f"{next(self._numbers):064x}")
        draft.writer("data", table.schema).write(table)
        outputs = draft.finish()
        now = datetime.now(UTC)
        report = Report(
            key=draft.key, workflow="bench", step=name, stage="collect", plugins=["bench"], run="bench",
            outputs=outputs, columns=draft.columns(), started=now, ended=now,
        )  # fmt: skip
        draft.commit(report, before=lambda: None)
        return outputs["data"]

    def request(
        self,
        stage: str,
        do: Sequence[tuple[str, Any]],
        *,
        inputs: Mapping[str, pa.Table | DatasetRef] | None = None,
        checks: Sequence[tuple[str, Any]] = (),
        values: Mapping[str, Scalar] | None = None,
        step: str = "step",
        run: str = "run-1",
        requested: int = 0,
        **more: Any,
    ) -> TaskRequest:
        """The request for a task: plugins with their options, and inputs as tables or references."""
        refs = {
            name: given if isinstance(given, DatasetRef) else self.dataset(name, given)
            for name, given in (inputs or {}).items()
        }
        more.setdefault("generation", f"bench-{next(self._numbers)}")
        return TaskRequest(
            workflow="bench",
            step=step,
            stage=stage,
            do=[_use(STAGE_KIND[stage], *one) for one in do],
            checks=[_use("check", *one) for one in checks],
            values=dict(values or {}),
            inputs=refs,
            run=RunInfo(id=run, requested=requested),
            **more,
        )

    def run(self, stage: str, do: Sequence[tuple[str, Any]], **more: Any) -> Report:
        """Do a task: its report, or its error raised."""
        return self.perform(self.request(stage, do, **more))

    def perform(self, request: TaskRequest, **told: Any) -> Report:
        """Do the task of a request."""
        told.setdefault("tell", lambda level, text: self.logged.append((level, text)))
        stage = load(built_in(request.stage))
        return perform(stage, request, store=self.store, settings=self.settings, **told)

    def table(self, report: Report, output: str = "data") -> pa.Table:
        """An output of a task."""
        return self.store.dataset(report.outputs[output]).table()

    def quarantine(self, report: Report) -> list[dict[str, Any]]:
        """The rows that a task set aside."""
        if "quarantine" not in report.outputs:
            return []
        rows: list[dict[str, Any]] = self.table(report, "quarantine").to_pylist()
        return rows


def _use(kind: str, name: str, options: Any) -> Use:
    found = plugin(kind, name)
    return Use(plugin=name, version=found.version, options=found.mapping(options))
