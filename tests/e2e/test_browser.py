"""Airflow's web UI as a person uses it: log in, trigger with the form, see it succeed, look at the report."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browsers import logged_in, needs_chromium, see_report
from tests.e2e.conftest import LIMIT, Stack, until

ENDED = re.compile("Success|Failed")

pytestmark = needs_chromium


@pytest.fixture
def page(stack: Stack) -> Iterator[Page]:
    """A browser's page, logged in to Airflow."""
    found = stack.endpoints["airflow"]
    with logged_in(found["url"], found["username"], found["password"]) as page:
        yield page


def test_trigger_with_the_form_and_see_the_report(stack: Stack, page: Page) -> None:
    known = {run["dag_run_id"] for run in stack.runs("flights_daily")}
    page.goto("/dags/flights_daily")
    page.get_by_role("button", name="Trigger").first.click()
    page.locator("[name=element_date]").fill("2013-01-01")
    page.get_by_role("dialog").get_by_role("button", name="Trigger").click()

    def begun() -> set[str]:
        return {run["dag_run_id"] for run in stack.runs("flights_daily")} - known

    until(lambda: bool(begun()), "the run")
    (run_id,) = begun()
    page.goto(f"/dags/flights_daily/runs/{run_id}/details")
    state = page.get_by_role("row").filter(has=page.get_by_text("State", exact=True))
    expect(state).to_contain_text(ENDED, timeout=1000 * LIMIT)  # the page follows the run by itself
    expect(state).to_contain_text("Success")
    see_report(page)


def test_without_a_login_the_report_is_closed(page: Page) -> None:
    page.context.clear_cookies()
    answer = page.request.get("/ropewalk/report/flights_daily/x/")
    assert answer.status in {401, 403}
