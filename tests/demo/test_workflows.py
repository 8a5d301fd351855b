"""The demo's workflows, run whole in one process: no flight is lost, and none comes twice."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from demo import facts
from rich.console import Console
from ropewalk.cli.run import run_workflow
from ropewalk.contracts.models import Report
from ropewalk.workflow import load

from tests.conftest import Database
from tests.demo.conftest import dags

pytestmark = pytest.mark.usefixtures("connected")
DAILY, YEAR = "flights_daily", "flights_year"
TABLES = ["by_carrier", "by_destination", "by_hour", "departures", "drivers"]


@pytest.fixture(autouse=True)
def results(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """An empty database for the results."""
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", database.stage("store"))
    return database


def run(name: str, folder: Path, day: date | None = None) -> dict[str, Report]:
    """The reports of a run, by step."""
    console = Console(quiet=True)
    return run_workflow(
        load(dags(name)), day, {}, store=folder / "state", refresh=False, console=console
    )


def query(database: Database, sql: str) -> list[tuple[Any, ...]]:
    """Rows of the results."""
    with psycopg.connect(database.stage("store")) as session:
        return session.execute(sql.encode()).fetchall()


def test_a_day_publishes_each_flight_once_with_what_is_known_of_it(
    results: Database, tmp_path: Path
) -> None:
    reports = run(DAILY, tmp_path, date(2013, 1, 1))

    assert reports["departures"].rows.out == facts.FIRST_DAY
    assert reports["departures"].rows.dropped == {"deduplicate": 0}
    assert [check.status for check in reports["departures"].checks] == ["passed"] * 3
    assert [table for (table,) in query(results, SCHEMA_TABLES)] == TABLES
    assert query(results, "SELECT count(*), min(date)::text, max(date)::text FROM flights.departures") == [
        (facts.FIRST_DAY, "2013-01-01", "2013-01-01")
    ]  # fmt: skip
    assert query(results, FIRST_FLIGHT) == [
        (2, "United Air Lines Inc.", "George Bush Intercontinental", 149, False, True)
    ]


def test_days_stand_beside_each_other_and_a_day_done_again_replaces_itself(
    results: Database, tmp_path: Path
) -> None:
    for day in (date(2013, 11, 3), date(2013, 12, 31), date(2013, 11, 3)):
        run(DAILY, tmp_path, day)

    assert query(results, "SELECT date::text, count(*) FROM flights.departures GROUP BY 1 ORDER BY 1") == [
        ("2013-11-03", 902),  # 25 hours, one of them twice
        ("2013-12-31", 776),  # without any weather
    ]  # fmt: skip


def test_the_year_has_every_flight_once(results: Database, tmp_path: Path) -> None:
    reports = run(YEAR, tmp_path)

    assert reports["flights"].rows.out == facts.FLIGHTS
    assert reports["weather"].rows.out == facts.WEATHER
    assert query(results, FIGURES) == [
        (
            facts.FLIGHTS,
            facts.CANCELLED,
            facts.WITHOUT_PLANE,
            facts.WITHOUT_DESTINATION,
        )
    ]
    assert query(results, "SELECT sum(flights) FROM flights_year.by_hour") == [(facts.FLIGHTS,)]


SCHEMA_TABLES = """
    SELECT table_name FROM information_schema.tables WHERE table_schema = 'flights' ORDER BY 1"""
FIRST_FLIGHT = """
    SELECT dep_delay, airline, destination, seats, cancelled, wind_speed > 0
    FROM flights.departures WHERE carrier = 'UA' AND flight = 1545"""
FIGURES = """
    SELECT count(*), count(*) FILTER (WHERE cancelled), count(*) FILTER (WHERE seats IS NULL),
           count(*) FILTER (WHERE destination IS NULL)
    FROM flights_year.departures"""
