"""The first run: has Airflow do one day of the demo workflow, and follows it to its end."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ropewalk.contracts.errors import FatalError, RetryableError
from ropewalk.local.installation import Installation

WORKFLOW = "flights_daily"
DAY = datetime(2013, 1, 1, tzinfo=ZoneInfo("America/New_York"))
RUN = f"first__{DAY:%Y-%m-%d}"
ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}
PATIENCE = 60.0  # seconds until the DAG processor has read a new file
LIMIT = 600.0
TRIES = 5  # at an answer of Airflow's


def first_run(installation: Installation, console: Console) -> None:
    """Runs the demo workflow for its first day, unless that has been done; raises if it does not
    succeed.
    """
    started = time.monotonic()
    with installation.airflow.session() as session:
        _known(session)
        session.patch(f"/dags/{WORKFLOW}", json={"is_paused": False}).raise_for_status()
        if not _trigger(session):
            if _run(session)["state"] == "success":
                return
            _again(session)
        _follow(session, console)
    spent = f"[dim]succeeded  {time.monotonic() - started:.1f} s[/]"
    console.print(f"  [green]✓[/] {WORKFLOW} for {DAY:%Y-%m-%d} {spent}")


def _known(session: httpx.Client) -> None:
    """Returns when Airflow has read the workflow's file."""
    deadline = time.monotonic() + PATIENCE
    while session.get(f"/dags/{WORKFLOW}").status_code == HTTPStatus.NOT_FOUND:
        if time.monotonic() > deadline:
            errors = session.get("/importErrors").json().get("import_errors", [])
            text = "\n".join(f"{error['filename']}: {error['stack_trace']}" for error in errors)
            raise RetryableError(
                f"Airflow does not show {WORKFLOW}. {text}",
                hint="make logs ARGS=airflow-dag-processor",
            )
        time.sleep(0.2)


def _trigger(session: httpx.Client) -> bool:
    """Asks for the run; False if it had been asked for before."""
    body = {
        "dag_run_id": RUN,
        "logical_date": _text(DAY),
        "data_interval_start": _text(DAY),
        "data_interval_end": _text(DAY + timedelta(days=1)),
    }
    answer = session.post(f"/dags/{WORKFLOW}/dagRuns", json=body)
    if answer.status_code == HTTPStatus.CONFLICT:
        return False
    answer.raise_for_status()
    return True


def _again(session: httpx.Client) -> None:
    """Has the failed tasks of the run done again; a run that goes on is left alone."""
    if _run(session)["state"] == "failed":
        body = {"dry_run": False, "only_failed": True}
        session.post(f"/dags/{WORKFLOW}/dagRuns/{RUN}/clear", json=body).raise_for_status()


def _follow(session: httpx.Client, console: Console) -> None:
    deadline = time.monotonic() + LIMIT
    columns = (
        TextColumn("    {task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        bar = shown.add_task(WORKFLOW, total=None)
        while (state := _run(session)["state"]) in {"queued", "running"}:
            tasks = _tasks(session)
            now = ", ".join(
                task["task_id"] for task in tasks if task["state"] in {"running", "deferred"}
            )
            ended = sum(task["state"] in ENDED for task in tasks)
            shown.update(
                bar, description=f"{WORKFLOW}: {now or 'waits'}", total=len(tasks), completed=ended
            )
            if time.monotonic() > deadline:
                raise RetryableError(
                    f"{WORKFLOW} has not ended after {LIMIT:.0f} s", hint="see it in Airflow"
                )
            time.sleep(0.3)
    if state != "success":
        failed = ", ".join(task["task_id"] for task in _tasks(session) if task["state"] == "failed")
        raise FatalError(
            f"{WORKFLOW} for {DAY:%Y-%m-%d} ended as {state}: {failed}",
            hint="see the task's log in Airflow",
        )


def _run(session: httpx.Client) -> dict[str, Any]:
    return _json(session, f"/dags/{WORKFLOW}/dagRuns/{RUN}")


def _tasks(session: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _json(session, f"/dags/{WORKFLOW}/dagRuns/{RUN}/taskInstances")[
        "task_instances"
    ]
    return found


def _json(session: httpx.Client, path: str) -> dict[str, Any]:
    """An answer of Airflow's, which a machine with much to do may keep waiting for longer than once."""
    for left in reversed(range(TRIES)):
        try:
            answer = session.get(path)
        except httpx.TransportError as error:
            if not left:
                raise RetryableError(
                    f"Airflow does not answer: {error}", hint="make logs ARGS=airflow-api-server"
                ) from None
        else:
            break
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
