"""A real browser at Airflow's web UI, as a person uses it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect, sync_playwright

PATIENCE = 120_000  # milliseconds
CHROMIUM = shutil.which("chromium")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium: apt-get install chromium"
)


@contextmanager
def logged_in(url: str, user: str, password: str) -> Iterator[Page]:
    """A browser's page, logged in to Airflow."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, base_url=url)
        page.set_default_timeout(PATIENCE)
        page.goto("/")
        page.locator("input[name=username]").fill(user)
        page.locator("input[name=password]").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/")
        yield page
        browser.close()


def see_report(page: Page) -> None:
    """Open the report on the page of a run of the demo, and see its title and a chart that was drawn."""
    page.get_by_title("Report", exact=True).click()
    report = page.frame_locator("iframe")
    expect(report.get_by_text("New York departures").first).to_be_visible(timeout=PATIENCE)
    expect(report.locator("svg.marks, canvas.marks").first).to_be_visible(timeout=PATIENCE)
