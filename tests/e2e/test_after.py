"""A workflow that is scheduled after another: it runs by itself, for the days that the other has published."""

from __future__ import annotations

from typing import Any

import httpx

from tests.e2e.conftest import Stack, until
from tests.e2e.test_backfill import unpause

FIRST, THEN = "e2e_first", "e2e_then"  # which begins a day later


def follow(stack: Stack, **conf: Any) -> tuple[str, str]:
    """The runs of the first, by hand, and of the one that it has begun."""
    unpause(stack, THEN)
    unpause(stack, FIRST)
    known = {run["dag_run_id"] for run in stack.runs(THEN)}
    first = stack.trigger(FIRST, **conf)
    assert stack.finish(FIRST, first) == "success"
    until(lambda: bool(begun(stack, known)), f"a run of {THEN}")
    (run_id,) = begun(stack, known)
    assert stack.finish(THEN, run_id) == "success"
    return first, run_id


def begun(stack: Stack, known: set[str]) -> set[str]:
    """The runs of the one that follows that were not there."""
    return {run["dag_run_id"] for run in stack.runs(THEN)} - known


def test_a_workflow_runs_by_itself_for_the_days_that_another_has_published(stack: Stack) -> None:
    first, run_id = follow(stack, date="2013-03-01", to="2013-03-03", word="tar")

    (run,) = [one for one in stack.runs(THEN) if one["dag_run_id"] == run_id]
    assert (run["run_type"], run["triggered_by"]) == ("asset_triggered", "asset")
    assert stack.query("SELECT day, word FROM e2e_first.days ORDER BY day") == [
        ("2013-03-01", "tar"), ("2013-03-02", "tar"), ("2013-03-03", "tar"),
    ]  # fmt: skip
    assert stack.query("SELECT day, word FROM e2e_then.days ORDER BY day") == [
        ("2013-03-02", "walk"), ("2013-03-03", "walk"),  # its own days, and its own params
    ]  # fmt: skip
    with stack.session as session:
        events = told(session, first)
    assert events["workflow.e2e_first"]["ranges"] == [
        ["2013-03-01T05:00:00+00:00", "2013-03-04T05:00:00+00:00"]
    ]
    table = events["results.e2e_first.days"]
    assert table["rows"] == 3
    assert table["openlineage"]["name"].endswith(".e2e_first.days")


def test_its_page_is_there_and_every_task_leads_to_it(stack: Stack) -> None:
    _, run_id = follow(stack, date="2013-03-04")
    assert stack.query("SELECT day FROM e2e_then.days WHERE day > '2013-03-03'") == [
        ("2013-03-04",)
    ]
    links = stack.links(THEN, run_id, "publish")
    assert links["Dataset"] == links["Report"] + "#step-publish"
    page = stack.page(links["Report"])
    assert page.status_code == 200
    assert "What runs by itself when those days are there" in page.text
    assert "2013-03-04" in page.text


def test_days_that_are_none_of_its_own_are_skipped(stack: Stack) -> None:
    _, run_id = follow(stack, date="2013-03-01")
    assert set(stack.tasks(THEN, run_id).values()) == {"skipped"}
    assert stack.query("SELECT count(*) FROM e2e_then.days WHERE day < '2013-03-02'") == [(0,)]


def told(session: httpx.Client, run_id: str) -> dict[str, Any]:
    """What the events of a run of the first say, by the names of their assets."""
    found = session.get("/assets/events", params={"source_dag_id": FIRST, "limit": 100}).json()
    return {
        one["name"]: one["extra"] for one in found["asset_events"] if one["source_run_id"] == run_id
    }
