"""Airflow's web UI as a person uses it: log in, trigger with the form, see it succeed, look at the report."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e.conftest import LIMIT, Stack, until

PATIENCE = 120_000  # milliseconds
ENDED = re.compile("Success|Failed")
CHROMIUM = shutil.which("chromium")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium: apt-get install chromium"
)


@pytest.fixture
def page(stack: Stack) -> Iterator[Page]:
    """A browser's page, logged in to Airflow."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": 1400, "height": 1000}, base_url=stack.endpoints["airflow"]["url"]
        )
        page.set_default_timeout(PATIENCE)
        page.goto("/")
        page.locator("input[name=username]").fill(stack.endpoints["airflow"]["username"])
        page.locator("input[name=password]").fill(stack.endpoints["airflow"]["password"])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/")
        yield page
        browser.close()


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
    page.get_by_title("Report", exact=True).click()
    report = page.frame_locator("iframe")
    expect(report.get_by_text("New York departures").first).to_be_visible(timeout=PATIENCE)
    expect(report.locator("svg.marks, canvas.marks").first).to_be_visible(timeout=PATIENCE)


def test_without_a_login_the_report_is_closed(page: Page) -> None:
    page.context.clear_cookies()
    answer = page.request.get("/ropewalk/report/flights_daily/x/")
    assert answer.status in {401, 403}
