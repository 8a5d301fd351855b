"""The links of a task in Airflow's UI lead to the page of its run, and to the step's place on it."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest

from tests.e2e.conftest import Stack

DAG = "flights_daily"


@pytest.mark.parametrize("task", ["flights", "departures", "publish"])
def test_a_task_leads_to_the_report_of_its_run_and_to_its_own_part_of_it(
    stack: Stack, task: str
) -> None:
    run_id = min(stack.runs(DAG), key=lambda run: str(run["start_date"]))["dag_run_id"]
    assert stack.finish(DAG, run_id) == "success"
    links = stack.links(DAG, run_id, task)
    assert set(links) == {"Report", "Dataset"}

    report = stack.page(links["Report"])
    assert report.status_code == 200
    assert report.headers["content-type"].startswith("text/html")
    assert "New York departures" in report.text
    assert unquote(urlsplit(links["Report"]).path).split("/")[3:5] == [DAG, run_id]

    dataset = stack.page(links["Dataset"])
    assert dataset.text == report.text
    place = urlsplit(links["Dataset"]).fragment
    assert place == f"step-{task}"
    assert f'id="{place}"' in dataset.text


def test_what_makes_the_page_leads_to_it_and_to_no_part_of_it(stack: Stack) -> None:
    run_id = min(stack.runs(DAG), key=lambda run: str(run["start_date"]))["dag_run_id"]
    assert stack.finish(DAG, run_id) == "success"
    assert set(stack.links(DAG, run_id, "report")) == {"Report"}


def test_a_task_of_a_workflow_that_draws_no_page_has_no_link(stack: Stack) -> None:
    run_id = stack.trigger("e2e_first", date="2013-03-01")
    assert stack.finish("e2e_first", run_id) == "success"
    assert stack.links("e2e_first", run_id, "publish") == {}


def test_a_run_that_is_not_there_has_no_page(stack: Stack) -> None:
    assert (
        stack.page(f"/ropewalk/report/{DAG}/manual__2013-01-01T00%3A00%3A00%2B00%3A00/").status_code
        == 404
    )
