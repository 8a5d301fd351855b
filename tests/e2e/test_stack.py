"""What must hold of a whole installation: its first run, a backfill, the schedule, and a killed stage."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from demo import facts
from ropewalk.local import processes

from tests.e2e.conftest import Stack, until

JANUARY = ("flights_daily", "--from-date", "2013-01-01", "--to-date", "2013-01-31")
COUNT = "SELECT date::text, count(*) FROM flights.departures WHERE date < '2013-02-01' GROUP BY 1 ORDER BY 1"


def test_up_runs_the_first_day_and_says_where_to_look(stack: Stack) -> None:
    assert "flights_daily for 2013-01-01" in stack.printed
    assert stack.endpoints["present"]["url"] in stack.printed
    (row,) = stack.query("SELECT count(*) FROM flights.departures WHERE date = '2013-01-01'")
    assert row == (facts.FIRST_DAY,)
    assert stat.S_IMODE(stack.home.endpoints.stat().st_mode) == 0o600


def test_up_again_starts_nothing(stack: Stack) -> None:
    before = {name: pid(stack, name) for name in processes.recorded(stack.home)}
    stack.local("up")
    assert {name: pid(stack, name) for name in processes.recorded(stack.home)} == before


def test_a_stage_answers_only_to_the_token(stack: Stack) -> None:
    for stage in stack.endpoints["stages"].values():
        url = f"{stage['url']}/v1/describe"
        assert httpx.get(url).status_code == 401
        assert (
            httpx.get(url, headers={"authorization": f"Bearer {stage['token']}"}).status_code == 200
        )


def test_the_report_of_the_first_day_is_served(stack: Stack) -> None:
    with httpx.Client(follow_redirects=True) as client:
        assert client.get(stack.endpoints["present"]["url"]).status_code == 200
        page = client.get(
            httpx.URL(stack.endpoints["present"]["url"]).join("/reports/flights_daily/")
        )
    assert page.status_code == 200
    assert "New York departures" in page.text


def test_openlineage_was_told_where_the_columns_of_the_first_day_come_from(stack: Stack) -> None:
    """By the run itself, into the file that the documentation names."""
    events = stack.home.path / "lineage" / "events.jsonl"
    until(lambda: "by_carrier" in completed(events), "the end of by_carrier")
    (output,) = completed(events)["by_carrier"]["outputs"]
    assert output["name"] == "flights_daily.by_carrier"
    fields = {
        column: {(one["name"], one["field"]) for one in found["inputFields"]}
        for column, found in output["facets"]["columnLineage"]["fields"].items()
    }
    columns = {one["name"] for one in output["facets"]["schema"]["fields"]}
    assert set(fields) == columns - {"flights"}  # which counts rows, of whatever columns
    assert fields["carrier"] == {("flights_daily.departures", "carrier")}


def completed(events: Path) -> dict[str, Any]:
    """The last event of each step of the demo that has ended, by the step's name."""
    text = events.read_text(encoding="utf-8") if events.exists() else ""
    told = [json.loads(line) for line in text.split("\n")[:-1]]  # the last may be half there
    return {
        one["job"]["name"].removeprefix("flights_daily."): one
        for one in told
        if one["eventType"] == "COMPLETE" and one["job"]["name"].startswith("flights_daily.")
    }


def test_a_workflow_runs_in_one_process_in_the_shell(stack: Stack) -> None:
    printed = stack.shell(
        "ropewalk", "run", "dags/workflows/flights_daily.yaml", "--date", "2013-01-02",
        "--store", str(stack.home.path / "local"),
    )  # fmt: skip
    assert "index.html" in printed
    assert stack.query("SELECT count(*) FROM flights.departures WHERE date = '2013-01-02'") == [
        (facts.SECOND_DAY,)
    ]


def test_a_backfill_of_january_has_every_flight_once_and_again_once(stack: Stack) -> None:
    backfill(stack)
    days = stack.query(COUNT)
    assert len(days) == 31
    assert sum(count for _, count in days) == facts.JANUARY
    loads = stack.query("SELECT count(*) FROM flights.departures")
    backfill(stack, "--reprocess-behavior", "completed")
    assert stack.query(COUNT) == days
    assert stack.query("SELECT count(*) FROM flights.departures") == loads


def test_the_schedule_runs_by_itself(stack: Stack) -> None:
    with stack.session as session:
        until(lambda: session.get("/dags/e2e_schedule").is_success, "the DAG of e2e_schedule")
        session.patch("/dags/e2e_schedule", json={"is_paused": False}).raise_for_status()
    until(
        lambda: Counter(run["state"] for run in stack.runs("e2e_schedule"))["success"] == 3,
        "three runs",
    )
    assert stack.query("SELECT day FROM e2e_schedule.days ORDER BY 1") == [
        ("2013-03-01",), ("2013-03-02",), ("2013-03-03",),
    ]  # fmt: skip


def test_a_stage_killed_in_the_middle_of_a_task_is_started_again_and_the_run_succeeds(
    stack: Stack,
) -> None:
    run_id = stack.trigger("e2e_slow")
    until(
        lambda: stack.tasks("e2e_slow", run_id).get("slow") in {"running", "deferred"},
        "the slow step",
    )
    os.kill(pid(stack, "process"), signal.SIGKILL)
    stack.local("up", "--no-run")
    assert stack.finish("e2e_slow", run_id) == "success"
    assert stack.query("SELECT count(*), count(DISTINCT n) FROM e2e_slow.slow") == [(1000, 1000)]


def test_a_bad_file_shows_as_an_invalid_dag_and_hides_nothing(stack: Stack) -> None:
    with stack.session as session:
        dag = session.get("/dags/e2e_invalid/details").json()
        assert {tag["name"] for tag in dag["tags"]} == {"ropewalk", "invalid"}
        assert "e2e_invalid.yaml:4:14" in dag["doc_md"]
        assert "did you mean 'sql'?" in dag["doc_md"]
        assert session.get("/dags/flights_daily").is_success
        assert session.get("/importErrors").json()["total_entries"] == 0


def backfill(stack: Stack, *words: str) -> None:
    """Run January through ``airflow backfill create``, and wait for its 31 runs."""
    known = {run["dag_run_id"]: run["end_date"] for run in stack.runs("flights_daily")}
    stack.airflow("backfill", "create", "--dag-id", *JANUARY, "--max-active-runs", "8", *words)

    def done() -> bool:
        runs = stack.runs("flights_daily")
        ended = [
            run
            for run in runs
            if run["run_type"] == "backfill" and run["state"] in {"success", "failed"}
        ]
        again = [run for run in ended if run["end_date"] != known.get(run["dag_run_id"])]
        return len(again) == 31 or (not words and len(ended) >= 30)

    until(done, "31 runs")
    until(lambda: all(one["state"] == "success" for one in stack.runs("flights_daily")), "success")
    with stack.session as session:
        until(lambda: noticed(session), "the backfill's end, which Airflow notices twice a minute")


def noticed(session: httpx.Client) -> bool:
    """Whether Airflow holds no backfill for running: it allows one per DAG."""
    backfills = session.get("/backfills", params={"dag_id": "flights_daily"}).json()["backfills"]
    return bool(backfills) and all(one["completed_at"] for one in backfills)


def pid(stack: Stack, name: str) -> int:
    """The process id of a service."""
    record = processes.read(stack.home, name)
    assert record is not None
    return record.pid
