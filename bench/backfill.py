"""(f) A year of `flights_daily` under Airflow in batches, and day by day.

Both run on the stack that `make up` has started, under names of their own each time, so that nothing of it has been
done before; a year day by day would take half an hour: eight days are run, and the time is scaled.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
from ropewalk.cli.airflow import airflow
from ropewalk.cli.backfill import Backfill, batches, fitting
from ropewalk.local.home import Home
from ropewalk.local.installation import Installation
from ropewalk.workflow import load

from bench.installation import airflow_runs
from bench.options import Options
from bench.table import Figure, Skipped

TITLE = "(f) 365 days of flights_daily under Airflow"
WORKFLOW, SCHEMA = "flights_daily", "schema: flights"
FIRST, LAST = date(2013, 1, 1), date(2013, 12, 31)
DAYS, SINGLY = 365, 8
LIMIT, FASTER = 90.0, 5
AT_ONCE = 4
PATIENCE = 600.0  # seconds


def run(options: Options) -> Iterator[Figure | Skipped]:
    """Measures both, once."""
    if not airflow_runs():
        yield Skipped(WORKFLOW, "no Airflow runs (make up)")
        return
    installation = Installation.open(Home.from_environment())
    with installation.airflow.session() as session:
        with _copy(session, installation.dags) as path:
            batched = _batched(path, options)
        with _copy(session, installation.dags) as path:
            singly = _singly(session, path.stem) * DAYS / SINGLY
    yield Figure("in batches", batched, "the limit", LIMIT, 1)
    yield Figure("in batches", batched, "day by day", singly, FASTER, sense="at least")


@contextmanager
def _copy(session: httpx.Client, dags: Path) -> Iterator[Path]:
    """The workflow under another name, publishing to a schema of that name, for a while."""
    name = f"bench_{secrets.token_hex(4)}"
    text = (dags / "workflows" / f"{WORKFLOW}.yaml").read_text(encoding="utf-8")
    path = dags / "workflows" / f"{name}.yaml"
    path.write_text(text.replace(SCHEMA, f"schema: {name}"), encoding="utf-8")
    try:
        _until(lambda: session.get(f"/dags/{name}").status_code == HTTPStatus.OK)
        session.patch(f"/dags/{name}", json={"is_paused": False}).raise_for_status()
        yield path
    finally:
        path.unlink()
        session.delete(f"/dags/{name}")


def _batched(path: Path, options: Options) -> float:
    workflow = load(path)
    begun = time.monotonic()
    with airflow() as session:
        groups = batches(workflow, FIRST, LAST, fitting(FIRST, LAST))
        outcome = Backfill(session, workflow, {}, options.console).run(groups, AT_ONCE)
    if len(outcome.done) != DAYS:
        raise RuntimeError(f"{len(outcome.failed)} days failed: {outcome.failed}")
    return time.monotonic() - begun


def _singly(session: httpx.Client, name: str) -> float:
    begun = time.monotonic()
    runs = [_trigger(session, name, FIRST + timedelta(days=day)) for day in range(SINGLY)]
    _until(lambda: all(_state(session, name, run) == "success" for run in runs))
    return time.monotonic() - begun


def _trigger(session: httpx.Client, name: str, day: date) -> str:
    conf = {"date": day.isoformat(), "to": day.isoformat()}
    answer = session.post(f"/dags/{name}/dagRuns", json={"logical_date": None, "conf": conf})
    answer.raise_for_status()
    return str(answer.json()["dag_run_id"])


def _state(session: httpx.Client, name: str, run: str) -> str:
    answer = session.get(f"/dags/{name}/dagRuns/{run}")
    answer.raise_for_status()
    return str(answer.json()["state"])


def _until(done: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError("Airflow does not get on: see make logs")
        time.sleep(0.5)
