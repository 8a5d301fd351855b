"""(d) A day of `flights_daily` under Airflow, from trigger to success, and a DAG of its shape that does nothing.

Both run on the stack that `make up` has started; the days are ones that it has not done before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from ropewalk.local.home import Home
from ropewalk.local.installation import Installation

from bench.installation import airflow_runs
from bench.options import Options
from bench.table import Figure, Skipped

TITLE = "(d) one day under Airflow, trigger to success"
WORKFLOW, NOOP = "flights_daily", "bench_noop"
TARGET = 2
PATIENCE = 300.0  # seconds
YEAR = 365
FIRST = datetime(2013, 1, 1, tzinfo=ZoneInfo("America/New_York"))  # days later are midnights too
DAG = '''\
"""The shape of another DAG, whose tasks do nothing; the benchmarks write it and remove it."""

from airflow.sdk import DAG, task

SHAPE = {shape}

with DAG("{name}", schedule=None):
    tasks = {{name: task(task_id=name)(lambda: None)() for name in SHAPE}}
    for name, after in SHAPE.items():
        for other in after:
            tasks[name] >> tasks[other]
'''


def run(options: Options) -> Iterator[Figure | Skipped]:
    """Measures both in turn."""
    if not airflow_runs():
        yield Skipped(WORKFLOW, "no Airflow runs (make up)")
        return
    installation = Installation.open(Home.from_environment())
    with installation.airflow.session() as session, _noop(session, installation.dags):
        days = _new_days(session)
        taken: dict[str, list[float]] = {WORKFLOW: [], NOOP: []}
        for number in range(1, options.rounds + 1):
            for name, times in taken.items():
                with options.console.status(f"round {number} of {options.rounds}: {name}"):
                    times.append(_seconds(session, name, next(days)))
    yield Figure(
        WORKFLOW, median(taken[WORKFLOW]), "no-op of its shape", median(taken[NOOP]), TARGET
    )


@contextmanager
def _noop(session: httpx.Client, dags: Path) -> Iterator[None]:
    """Has Airflow know the DAG that does nothing, for a while."""
    shape = {
        task["task_id"]: task["downstream_task_ids"]
        for task in _get(session, f"/dags/{WORKFLOW}/tasks")["tasks"]
    }
    path = dags / f"{NOOP}.py"
    path.write_text(DAG.format(shape=json.dumps(shape), name=NOOP), encoding="utf-8")
    try:
        _until(lambda: session.get(f"/dags/{NOOP}").status_code == HTTPStatus.OK)
        for name in (NOOP, WORKFLOW):
            session.patch(f"/dags/{name}", json={"is_paused": False}).raise_for_status()
        yield
    finally:
        path.unlink()
        session.delete(f"/dags/{NOOP}")


def _new_days(session: httpx.Client) -> Iterator[datetime]:
    """The days of 2013, the last first, for which the workflow has no run."""
    runs = _get(session, f"/dags/{WORKFLOW}/dagRuns?limit=1000")["dag_runs"]
    done = {datetime.fromisoformat(run["logical_date"]) for run in runs if run["logical_date"]}
    for number in range(YEAR):
        day = FIRST + timedelta(days=YEAR - 2 - number)
        if day not in done:
            yield day


def _seconds(session: httpx.Client, dag: str, day: datetime) -> float:
    """How long a run takes, by Airflow's own record."""
    end = day + timedelta(days=1)
    body = {
        "logical_date": day.astimezone(UTC).isoformat(),
        "data_interval_start": day.astimezone(UTC).isoformat(),
        "data_interval_end": end.astimezone(UTC).isoformat(),
    }
    answer = session.post(f"/dags/{dag}/dagRuns", json=body)
    answer.raise_for_status()
    path = f"/dags/{dag}/dagRuns/{answer.json()['dag_run_id']}"
    _until(lambda: _get(session, path)["state"] in {"success", "failed"})
    ended = _get(session, path)
    if ended["state"] != "success":
        raise RuntimeError(f"{dag} for {day:%Y-%m-%d} failed: see it in Airflow")
    spent = datetime.fromisoformat(ended["end_date"]) - datetime.fromisoformat(ended["queued_at"])
    return spent.total_seconds()


def _until(done: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError("Airflow does not get on: see make logs")
        time.sleep(0.5)


def _get(session: httpx.Client, path: str) -> Any:
    answer = session.get(path)
    answer.raise_for_status()
    return answer.json()
