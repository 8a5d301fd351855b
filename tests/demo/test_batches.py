"""Many days in one run give what as many runs of a day give: the same datasets, and the same rows in the tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rich.console import Console
from ropewalk.cli.run import run_workflow
from ropewalk.contracts.models import Report
from ropewalk.workflow import load, partitions

from tests.conftest import Database, Postgres
from tests.demo.conftest import dags

pytestmark = pytest.mark.usefixtures("connected")
WHOLE = load(dags("flights_daily"))
DAILY = replace(
    WHOLE, steps={n: step for n, step in WHOLE.steps.items() if step.stage != "present"}
)
TABLES = ["by_carrier", "by_destination", "by_hour", "departures", "drivers"]


class Place:
    """A database for the results and a store for the datasets, of one way to run."""

    def __init__(self, database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database, self.folder, self._patch = database, folder, monkeypatch

    def run(self, first: date, last: date | None = None, **more: Any) -> dict[str, Report]:
        """Run a day, or a batch."""
        self._patch.setenv("ROPEWALK_CONNECTION_RESULTS", self.database.stage("store"))
        console = Console(quiet=True)
        return run_workflow(
            DAILY, first, more, last=last, store=self.folder, refresh=False, console=console
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the results."""
        with psycopg.connect(self.database.stage("store")) as session:
            return session.execute(sql.encode()).fetchall()

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table as text with the partition that it belongs to, but for the load's number."""
        return {
            table: self.query(
                f"SELECT (to_jsonb(one) - '_ropewalk_load')::text FROM flights.{table} AS one ORDER BY 1"
            )
            for table in TABLES
        }

    def loads(self) -> list[tuple[Any, ...]]:
        """What the ledger says is in the tables."""
        return self.query(
            "SELECT target, scope, content, mode, rows FROM ropewalk.load WHERE state = 'current' ORDER BY 1, 2"
        )


@pytest.fixture
def place(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes places."""
    return lambda name: Place(postgres.database(), tmp_path / name, monkeypatch)


def test_a_batch_is_as_many_runs_of_a_day(place: Any) -> None:
    first, last = date(2013, 3, 8), date(2013, 3, 12)  # the clock goes forward on the 10th
    singly, batch = place("singly"), place("batch")
    days = list(partitions(DAILY, first, last))
    reports = [singly.run(date.fromisoformat(day.name)) for day in days]
    whole = batch.run(first, last)
    assert batch.tables() == singly.tables()
    assert batch.loads() == singly.loads()
    for step, report in whole.items():
        if step in {"planes", "airports", "airlines"}:
            continue
        for count in ("out", "quarantined"):
            assert getattr(report.rows, count) == sum(
                getattr(one[step].rows, count) for one in reports
            )
