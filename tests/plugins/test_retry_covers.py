"""A retry, hours or days later, asks for what the first try asked for: the same partition, request and key."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ropewalk
import ropewalk_airflow
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import TaskRequest
from ropewalk.workflow import load
from ropewalk_airflow.dag import workflow_dag
from ropewalk_airflow.operator import StageOperator

from tests.plugins.conftest import ROOT

DAILY = load(ROOT / "dags" / "workflows" / "flights_daily.yaml")
STARTED = datetime(2026, 11, 24, 2, 41, tzinfo=UTC)
FIFTH = datetime(2013, 1, 5, 5, tzinfo=UTC)
OURS = tuple(str(Path(module.__path__[0])) for module in (ropewalk, ropewalk_airflow))
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "gmtime", "localtime"}
RUNS = {
    "scheduled": ({}, FIFTH, "2013-01-05"),
    "by its form": ({"date": "2013-01-03"}, STARTED, "2013-01-03"),
    "a batch": ({"date": "2013-01-01", "to": "2013-01-03"}, STARTED, "2013-01-01_2013-01-03"),
}


def attempt(conf: dict[str, Any], at: datetime, number: int, later: timedelta) -> dict[str, Any]:
    """What Airflow tells a try of a task: the run is as it was, the try is another and of another moment."""
    run = SimpleNamespace(
        run_id="run", dag_id="flights_daily", conf=conf, clear_number=0, start_date=STARTED,
        data_interval_start=at, logical_date=at, run_after=at,
    )  # fmt: skip
    ti = SimpleNamespace(
        id=f"try-{number}", try_number=number, max_tries=3, task=SimpleNamespace(retries=3),
        start_date=STARTED + later, xcom_pull=lambda task_ids, **_: left(task_ids),
    )  # fmt: skip
    return {"dag_run": run, "ti": ti, "params": {"min_flights": 10}, "ts": STARTED + later}


def left(task: str) -> dict[str, Any]:
    """What a task before has left."""
    outputs = {
        name: {"id": f"{task}/{name}", "fingerprint": task, "rows": 3, "bytes": 24}
        for name in ("data", "partitions")
    }
    return {"key": sha256(task.encode()).hexdigest(), "outputs": outputs, "before": {}}


@contextmanager
def clocks_read() -> Iterator[list[str]]:
    """The functions of ours that ask what time it is."""
    asked: list[str] = []

    def see(frame: Any, event: str, called: Any) -> None:
        if (
            event == "c_call"
            and called.__name__ in CLOCKS
            and frame.f_code.co_filename.startswith(OURS)
        ):
            asked.append(frame.f_code.co_qualname)

    sys.setprofile(see)
    try:
        yield asked
    finally:
        sys.setprofile(None)


def requests(context: dict[str, Any]) -> dict[str, TaskRequest]:
    """What every step of a run asks for, but for which try it is."""
    found = {}
    for task in workflow_dag(DAILY).tasks:
        assert isinstance(task, StageOperator)
        with clocks_read() as asked:
            request = task._request(context)  # noqa: SLF001
        assert asked == []
        run = request.run.model_copy(update={"attempt": ""})
        found[task.task_id] = request.model_copy(update={"run": run})
    return found


@pytest.mark.parametrize(("conf", "at", "covers"), RUNS.values(), ids=RUNS)
def test_a_retry_is_the_same_request_whenever_it_is(
    conf: dict[str, Any], at: datetime, covers: str
) -> None:
    first = requests(attempt(conf, at, 1, timedelta()))
    assert set(first) == set(DAILY.steps)
    names = {one.partition.name for one in first.values() if one.partition is not None}
    assert covers in names
    for number, later in ((2, timedelta(hours=7)), (4, timedelta(days=9))):
        again = requests(attempt(conf, at, number, later))
        assert again == first
        assert {name: task_key(one) for name, one in again.items()} == {
            name: task_key(one) for name, one in first.items()
        }


def test_runs_of_other_days_are_other_requests() -> None:
    """What is compared above can differ."""
    first = requests(attempt({}, FIFTH, 1, timedelta()))
    other = requests(attempt({}, FIFTH + timedelta(days=1), 1, timedelta()))
    assert task_key(first["flights"]) != task_key(other["flights"])
    assert task_key(first["publish"]) != task_key(other["publish"])


def test_who_asks_the_clock_is_seen() -> None:
    with clocks_read() as asked:
        workflow_dag(DAILY)  # whose form has another day, once the last is past
    assert asked == ["_params"]
