"""`ropewalk backfill`, through Airflow: many days in a run, and what becomes of them when something goes wrong."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from tests.e2e.conftest import ROOT, Stack, until
from tests.e2e.test_stack import pid

DAYS = "SELECT day, count(*), sum(flights)::int FROM e2e_days.days GROUP BY day ORDER BY day"
FEBRUARY = """
    SELECT date::text, count(*), count(DISTINCT (carrier, flight, time_hour)), count(DISTINCT _ropewalk_partition)
    FROM flights.departures WHERE date BETWEEN '2013-02-01' AND '2013-02-04' GROUP BY date ORDER BY date"""


def ropewalk(stack: Stack, *words: str, to: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """The command, begun; it prints to a pipe, or to what a descriptor names."""
    command = [sys.executable, "-m", "ropewalk.cli", *words]
    return subprocess.Popen(
        command, env=stack.variables, cwd=ROOT, stdout=to, stderr=subprocess.STDOUT, text=True
    )


def said(process: subprocess.Popen[str], code: int = 0) -> str:
    """What a command has printed; it must end with that status."""
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == code, printed
    return printed


def unpause(stack: Stack, dag: str) -> None:
    """Let a DAG run, as soon as Airflow knows it."""
    with stack.session as session:
        until(lambda: session.get(f"/dags/{dag}").is_success, f"the DAG {dag}")
        session.patch(f"/dags/{dag}", json={"is_paused": False}).raise_for_status()


def batch_runs(stack: Stack, dag: str) -> list[dict[str, Any]]:
    """The runs that a backfill has asked for."""
    return [run for run in stack.runs(dag) if run["dag_run_id"].startswith("batch__")]


def test_a_backfill_loads_each_day_as_a_run_of_it_would(stack: Stack) -> None:
    words = ("flights_daily", "--from", "2013-02-01", "--to", "2013-02-04")
    assert "✓ 4 partitions" in said(ropewalk(stack, "backfill", *words, "--batch", "3d"))
    assert [len(run["conf"]["date"]) for run in batch_runs(stack, "flights_daily")] == [10, 10]
    days = stack.query(FEBRUARY)
    assert [day for day, *_ in days] == ["2013-02-01", "2013-02-02", "2013-02-03", "2013-02-04"]
    assert all(rows == distinct and partitions == 1 for _, rows, distinct, partitions in days)
    run_id = stack.trigger("flights_daily", date="2013-02-02")
    assert stack.finish("flights_daily", run_id) == "success"
    assert stack.log("flights_daily", run_id, "publish").count("holds these rows already") == 5
    assert stack.query(FEBRUARY) == days
    told = said(ropewalk(stack, "backfill", *words, "--batch", "3d", "--dry-run"))
    assert "4 partitions in 2 runs; about" in told


def test_a_terminal_shows_how_far_a_backfill_is(stack: Stack) -> None:
    ours, its = pty.openpty()
    words = ("flights_daily", "--from", "2013-02-01", "--to", "2013-02-04", "--batch", "3d")
    running = ropewalk(stack, "backfill", *words, to=its)
    os.close(its)
    shown = ""
    with open(ours, encoding="utf-8", errors="replace") as terminal, suppress(OSError):  # noqa: PTH123 - it has no path
        while some := terminal.read(1):
            shown += some
    assert running.wait(600) == 0, shown
    assert "0/4" in shown
    assert "4/4" in shown
    assert re.search(r"2013-02-0\d\S*: .*(collect|flights|departures|publish|waits)", shown), shown


def test_a_day_that_is_wrong_fails_alone_and_a_killed_stage_costs_nothing(stack: Stack) -> None:
    unpause(stack, "e2e_days")
    running = ropewalk(stack, "backfill", "e2e_days", "--from", "2013-03-01", "--to", "2013-03-06")

    def at_days() -> bool:
        runs = batch_runs(stack, "e2e_days")
        return any(stack.tasks("e2e_days", r["dag_run_id"]).get("days") == "running" for r in runs)

    until(at_days, "the step that takes its time")
    os.kill(pid(stack, "process"), signal.SIGKILL)
    stack.local("up", "--no-run")
    told = said(running, code=1)
    assert "✓ 5 partitions" in told
    assert "✗ 2013-03-03" in told
    found = stack.query(DAYS)
    assert [(day, rows) for day, rows, _ in found] == [
        (f"2013-03-0{day}", 3) for day in (1, 2, 4, 5, 6)
    ]
    runs = batch_runs(stack, "e2e_days")
    states = sorted(run["state"] for run in runs if run["dag_run_id"].startswith("batch__2013-03"))
    assert states == ["failed", "success", "success"]


def test_an_hour_that_is_wrong_fails_alone(stack: Stack) -> None:
    """Airflow is asked for days; what is left of a day is told by its moments."""
    unpause(stack, "e2e_hours")
    days = ("--from", "2013-03-01", "--to", "2013-03-02")
    told = said(ropewalk(stack, "backfill", "e2e_hours", *days), code=1)
    assert "✓ 47 partitions" in told
    assert "✗ 2013-03-01T10-0500" in told
    loaded = (
        "SELECT count(*), count(DISTINCT scope) FROM ropewalk.load WHERE target = 'e2e_hours.hours'"
    )
    assert stack.query(loaded) == [(47, 47)]


def test_a_backfill_that_is_interrupted_stops_what_runs(stack: Stack) -> None:
    unpause(stack, "e2e_days")
    known = {run["dag_run_id"] for run in batch_runs(stack, "e2e_days")}
    running = ropewalk(stack, "backfill", "e2e_days", "--from", "2013-04-01", "--to", "2013-04-30")

    def mine() -> list[dict[str, Any]]:
        return [run for run in batch_runs(stack, "e2e_days") if run["dag_run_id"] not in known]

    until(
        lambda: any(
            stack.tasks("e2e_days", run["dag_run_id"]).get("days") in {"running", "deferred"}
            for run in mine()
        ),
        "the step that takes its time",
    )
    running.send_signal(signal.SIGINT)
    assert "stopped; 0 partitions are done and stay" in said(running, code=130)
    until(lambda: all(run["state"] == "failed" for run in mine()), "the end of what ran")
    assert stack.query("SELECT count(*) FROM e2e_days.days WHERE day >= '2013-04-01'") == [(0,)]
