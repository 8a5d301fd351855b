"""Days that are asked for twice at once, in the ways that Airflow permits: the tables are those of one clean pass."""

from __future__ import annotations

import csv
from collections import Counter
from typing import Any

from tests.e2e.conftest import Stack, until
from tests.e2e.test_backfill import batch_runs, ropewalk, said, unpause

DAG = "e2e_days"


def published(stack: Stack, first: str, last: str) -> list[tuple[Any, ...]]:
    """What the table says of some days."""
    return stack.query(
        f"SELECT day, origin, flights::int FROM e2e_days.days "
        f"WHERE day BETWEEN '{first}' AND '{last}' ORDER BY day, origin"
    )


def one_pass(stack: Stack, first: str, last: str) -> list[tuple[Any, ...]]:
    """What the source says of them, by its own columns for the day."""
    with (stack.home.path / "data" / "flights" / f"{first[:7]}.csv").open() as file:
        rows = [
            (f"{r['year']}-{r['month']:0>2}-{r['day']:0>2}", r["origin"])
            for r in csv.DictReader(file)
        ]
    counts = Counter(row for row in rows if first <= row[0] <= last)
    return sorted((day, origin, count) for (day, origin), count in counts.items())


def runs_over(stack: Stack, first: str, last: str) -> list[dict[str, Any]]:
    """The runs of Airflow's own backfill over some days."""
    return [
        run
        for run in stack.runs(DAG)
        if run["run_type"] == "backfill" and first <= run["data_interval_start"][:10] <= last
    ]


def pause(stack: Stack, *, paused: bool) -> None:
    """Keep Airflow from starting tasks of the DAG, or let it."""
    with stack.session as session:
        session.patch(f"/dags/{DAG}", json={"is_paused": paused}).raise_for_status()


def test_two_backfills_over_the_same_days_at_once_leave_each_day_once(stack: Stack) -> None:
    """Ropewalk's and Airflow's: neither begins a step before both are there."""
    first, last = "2013-05-01", "2013-05-03"
    unpause(stack, DAG)
    known = {run["dag_run_id"] for run in batch_runs(stack, DAG)}
    running = ropewalk(stack, "backfill", DAG, "--from", first, "--to", last)

    def batch() -> list[dict[str, Any]]:
        return [run for run in batch_runs(stack, DAG) if run["dag_run_id"] not in known]

    until(lambda: bool(batch()), "the batch")
    pause(stack, paused=True)
    days = {"from_date": f"{first}T00:00:00Z", "to_date": f"{last}T00:00:00Z"}
    with stack.session as session:
        answer = session.post("/backfills", json={"dag_id": DAG, **days})
        assert answer.is_success, answer.text
    until(lambda: len(runs_over(stack, first, last)) == 3, "the runs of Airflow's backfill")
    assert batch()[0]["state"] in {"queued", "running"}
    pause(stack, paused=False)

    assert "✓ 3 partitions" in said(running)
    for run in runs_over(stack, first, last):
        assert stack.finish(DAG, run["dag_run_id"]) == "success"
    assert published(stack, first, last) == one_pass(stack, first, last)


def test_a_run_that_is_cleared_while_it_goes_on_leaves_each_day_once(stack: Stack) -> None:
    first, last = "2013-05-11", "2013-05-14"
    run_id = stack.trigger(DAG, date=first, to=last)
    until(lambda: stack.tasks(DAG, run_id).get("days") == "running", "the step that takes its time")
    with stack.session as session:
        answer = session.post(
            f"/dags/{DAG}/dagRuns/{run_id}/clear", json={"dry_run": False, "only_failed": False}
        )
        assert answer.is_success, answer.text
    assert stack.finish(DAG, run_id) == "success"
    assert tries(stack, run_id)["days"] > 1
    assert published(stack, first, last) == one_pass(stack, first, last)


def tries(stack: Stack, run_id: str) -> dict[str, int]:
    """How often each task of a run was begun."""
    with stack.session as session:
        found = session.get(f"/dags/{DAG}/dagRuns/{run_id}/taskInstances").json()["task_instances"]
    return {task["task_id"]: task["try_number"] for task in found}
