"""Which partition a run covers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from ropewalk.contracts.errors import ConfigError
from ropewalk.workflow import load
from ropewalk_airflow.dag import workflow_dag
from ropewalk_airflow.operator import batch_for, generation, partition_for, run_info, told_before

from tests.plugins.conftest import ROOT

DAILY = load(ROOT / "dags" / "workflows" / "flights_daily.yaml")
YEAR = load(ROOT / "dags" / "workflows" / "flights_year.yaml")
NOW = datetime(2026, 11, 24, 2, 41, tzinfo=UTC)
FIFTH = datetime(2013, 1, 5, 5, tzinfo=UTC)


def context(
    conf: dict[str, Any], at: datetime, *, cleared: int = 0, retries: int = 3
) -> dict[str, Any]:
    """What Airflow tells a task of its run."""
    run = SimpleNamespace(
        run_id="run",
        conf=conf,
        clear_number=cleared,
        data_interval_start=at,
        logical_date=at,
        run_after=at,
    )
    task = SimpleNamespace(max_tries=3 + 4 * cleared, task=SimpleNamespace(retries=retries))
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


@pytest.mark.parametrize(
    ("default", "conf", "name"),
    [
        (
            "2013-01-01",
            {},
            "2013-01-01",
        ),  # `airflow dags trigger`, of a workflow whose days are past
        ("2013-01-01", {"date": "2013-01-03"}, "2013-01-03"),
        (None, {}, "2026-11-23"),  # of one whose days go on: the day that it is
    ],
)
def test_a_run_by_hand_without_a_date_is_of_the_forms_day(
    default: str | None, conf: dict[str, Any], name: str
) -> None:
    given = {**context(conf, NOW), "params": {"date": default}}
    given["dag_run"].logical_date = given["dag_run"].data_interval_start = None
    given["dag_run"].run_type = "manual"
    found = partition_for(DAILY, given)
    assert found is not None
    assert found.name == name


def test_a_last_day_makes_a_batch_and_the_form_counts_as_it_stands() -> None:
    conf = {"date": "2013-01-01", "to": "2013-01-03"}
    found = batch_for(DAILY, context(conf, NOW))
    assert [one.name for one in found] == ["2013-01-01", "2013-01-02", "2013-01-03"]
    single = context({"date": "2013-01-01", "to": "2013-01-01"}, FIFTH)
    assert batch_for(DAILY, single) == []
    alone = partition_for(DAILY, single)
    assert alone is not None
    assert alone.name == "2013-01-01"


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"to": "2013-01-03"}, "needs the first one too"),
        ({"date": "2013-01-04", "to": "2013-01-03"}, "is before the first"),
        ({"date": "2013-01-01", "to": "9999-12-31"}, "more than 10,000 partitions"),
    ],
)
def test_a_range_that_is_none_is_refused(conf: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        batch_for(DAILY, context(conf, NOW))


def test_a_backfill_asks_at_one_moment_until_a_run_of_it_is_cleared() -> None:
    given = context({"requested": 7}, NOW)
    given["dag_run"].start_date = NOW
    given["ti"].id = "try"
    assert run_info(given, DAILY).requested == 7
    given["dag_run"].clear_number = 1
    assert run_info(given, DAILY).requested == int(NOW.timestamp() * 1_000_000)


def test_a_workflow_without_partition_covers_all_its_days() -> None:
    found = partition_for(YEAR, context({}, NOW))
    assert found is not None
    assert found.name == "2013-01-01_2013-12-31"


def test_a_clear_or_a_refresh_reads_anew_and_a_retry_does_not() -> None:
    first = generation(context({}, NOW))
    assert generation(context({}, NOW)) == first
    cleared = generation(context({}, NOW, cleared=1))
    again = generation(context({}, NOW, cleared=2))
    refreshed = generation(context({"refresh": True}, NOW))
    assert len({first, cleared, again, refreshed}) == 4


@pytest.mark.parametrize("retries", [0, 2, 3, 7, 8])
@pytest.mark.parametrize("cleared", [0, 1])
def test_other_retries_in_the_file_are_no_clear_and_hide_none(retries: int, cleared: int) -> None:
    """A task keeps the tries that it was made with, while its retries are read from the file each time."""
    edited = generation(context({}, NOW, cleared=cleared, retries=retries))
    assert edited == generation(context({}, NOW, cleared=cleared))


def test_a_page_asks_for_what_is_directly_before_it_and_knows_every_step() -> None:
    operator = workflow_dag(DAILY).get_task("report")
    asked = []

    def pull(task_ids: str, map_indexes: None) -> dict[str, Any]:  # noqa: ARG001 - Airflow's names
        asked.append(task_ids)
        step = DAILY.steps[task_ids]
        return {
            "key": task_ids,
            "outputs": {},
            "before": {name: name for name in before(step.after)},
        }

    def before(names: Iterable[str]) -> set[str]:
        return set(names).union(*(before(DAILY.steps[name].after) for name in names))

    step = DAILY.steps["report"]
    told, keys = told_before(
        {"ti": SimpleNamespace(xcom_pull=pull)}, step, operator.upstream_task_ids
    )
    assert set(asked) == set(told) == {*step.needs, "publish"}
    assert keys == {name: name for name in DAILY.steps if name != "report"}
