"""Which partition a run covers."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from ropewalk.workflow import load
from ropewalk_airflow.operator import generation, partition_for

from tests.plugins.conftest import ROOT

DAILY = load(ROOT / "dags" / "workflows" / "flights_daily.yaml")
YEAR = load(ROOT / "dags" / "workflows" / "flights_year.yaml")
NOW = datetime(2026, 11, 24, 2, 41, tzinfo=UTC)
FIFTH = datetime(2013, 1, 5, 5, tzinfo=UTC)


def context(conf: dict[str, Any], at: datetime, **ti: int) -> dict[str, Any]:
    """What Airflow tells a task of its run."""
    run = SimpleNamespace(
        run_id="run",
        conf=conf,
        clear_number=0,
        data_interval_start=at,
        logical_date=at,
        run_after=at,
    )
    task = SimpleNamespace(max_tries=ti.get("max_tries", 3), task=SimpleNamespace(retries=3))
    return {"dag_run": run, "ti": task}


@pytest.mark.parametrize(
    ("conf", "at", "name"),
    [
        ({}, FIFTH, "2013-01-05"),  # scheduled, or of a backfill
        ({"date": "2013-01-01"}, NOW, "2013-01-01"),  # the form as it was
        ({"date": "2013-01-03"}, NOW, "2013-01-03"),  # the form with another day
        (
            {"date": "2013-01-01"},
            FIFTH,
            "2013-01-05",
        ),  # the form as it was, but a date chosen for the run
        ({"date": "2013-01-03"}, FIFTH, "2013-01-03"),  # both chosen: the form is the more exact
        ({"date": None}, FIFTH, "2013-01-05"),
    ],
)
def test_the_day_of_a_run(conf: dict[str, Any], at: datetime, name: str) -> None:
    found = partition_for(DAILY, context(conf, at))
    assert found is not None
    assert found.name == name


def test_a_workflow_without_partition_covers_all_its_days() -> None:
    found = partition_for(YEAR, context({}, NOW))
    assert found is not None
    assert found.name == "2013-01-01_2013-12-31"


def test_a_clear_or_a_refresh_reads_anew_and_a_retry_does_not() -> None:
    first = generation(context({}, NOW))
    assert generation(context({}, NOW)) == first
    cleared = generation(context({}, NOW, max_tries=7))
    refreshed = generation(context({"refresh": True}, NOW))
    assert len({first, cleared, refreshed}) == 3
