"""Hostile texts wherever a text comes to in a report, before a real browser: they are shown, and do nothing.

Those of ``hostile.json`` become more than texts where a page is careless: they call ``owned`` or ask elsewhere.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from playwright.sync_api import Dialog, Page, Route, sync_playwright
from ropewalk.contracts.models import RunInfo, TaskRequest
from ropewalk.testing.bench import DAY, TaskBench
from ropewalk.testing.services import StageService, running

from tests.conftest import Postgres
from tests.present.test_report import CHROMIUM, browser_only
from tests.servers import serving

KEY = "the-key-of-the-viewers"
RUN = "manual__<img src=x onerror=owned()>"
FILE = "<img src=x onerror=owned()>'\".csv"
WATCH = """
window.wrong = [];
window.owned = () => window.wrong.push("owned");
document.addEventListener("securitypolicyviolation", e => window.wrong.push(e.violatedDirective + " " + e.blockedURI));
"""


def corpus(elsewhere: str) -> list[str]:
    """All of the texts; some ask for something at the address ``elsewhere``."""
    text = Path(__file__).with_suffix(".json").with_stem("hostile").read_text("utf-8")
    found: list[str] = json.loads(text.replace("http://elsewhere", elsewhere))
    return found


class Elsewhere:
    """A server that nobody should ask."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_error(404)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """A running one."""
    one = Elsewhere()
    with serving(one.server):
        yield one


def request(bench: TaskBench, folder: Path, texts: list[str]) -> TaskRequest:
    """What the run asks of the present stage: hostile files, columns, values, titles, reasons and names of runs."""
    names = [text.replace("\n", " ").replace("\t", " ") for text in texts]
    table = io.StringIO()
    written = csv.writer(table)
    written.writerow([names[0], "n"])
    written.writerows([text, number] for number, text in enumerate(names))
    written.writerows(["x", text] for text in names)  # no numbers: set aside, with the reason
    (folder / FILE).write_text(table.getvalue(), encoding="utf-8")
    read = bench.run(
        "collect", [("files", {"path": "data://*.csv", "format": "csv", "columns": {"n": "integer"}})],
        step="read", run=RUN, partition=DAY,
    )  # fmt: skip
    columns = {name: pa.array([float(n), n + 0.5, None]) for n, name in enumerate(names)}
    wide = bench.run(
        "process", [("sql", "SELECT * FROM raw")], inputs={"raw": pa.table(columns)},
        checks=[("accepted_values", {"column": names[0], "values": [0], "on_fail": "warn"})],
        step="wide", run=RUN, partition=DAY,
    )  # fmt: skip
    titles = [text for text in names if "{{" not in text and "{%" not in text]
    x, y, z = names[0], names[40], names[-2]
    charts: list[dict[str, Any]] = [
        *({"number": {"of": "read", "title": text, "note": text, "unit": text}} for text in titles),
        {"bar": {"of": "read", "x": names[0], "y": "n", "title": texts[0], "note": texts[1]}},
        {"scatter": {"of": "wide", "x": x, "y": y}}, {"line": {"of": "wide", "x": z, "y": y}},
        {"histogram": {"of": "wide", "x": y}}, {"heatmap": {"of": "wide", "x": x, "y": y, "color": z}},
        {"table": {"of": "wide"}}, {"table": {"of": "read", "title": "All"}},
    ]  # fmt: skip
    made = bench.request(
        "present", [("report", {"title": names[0], "intro": names[1], "charts": charts})],
        inputs={"read": read.output, "wide": wide.output}, upstream={"read": read.key, "wide": wide.key},
        step="report", run=RUN, partition=DAY,
    )  # fmt: skip
    run = RunInfo(id=RUN, title=names[2], url="javascript:owned()", requested=1)
    return made.model_copy(update={"run": run})


@pytest.fixture(scope="module")
def service(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory, elsewhere: Elsewhere
) -> Iterator[StageService]:
    """The present stage with that report."""
    home = tmp_path_factory.mktemp("hostile")
    env = {"ROPEWALK_VIEW_TOKEN": KEY}
    stage = StageService("present", postgres.database().stage("present"), home, env)
    with pytest.MonkeyPatch.context() as patch, running(stage):
        data = home / "data"
        data.mkdir()
        patch.setenv("ROPEWALK_ROOT_DATA", str(data))
        stage.do(request(TaskBench(home), data, corpus(elsewhere.url)))
        yield stage


@pytest.fixture
def tab(service: StageService) -> Iterator[Page]:
    """A browser's tab that has the key; what runs in it, or is kept from it, is written down in ``wrong``."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        one = browser.new_page()
        one.add_init_script(WATCH)
        one.goto(f"{service.url}/reports/?key={KEY}")
        yield one
        browser.close()


def watched(tab: Page) -> tuple[list[str], list[str]]:
    """What is going to go wrong in a tab, and what it is going to ask for."""
    wrong: list[str] = []
    asked: list[str] = []

    def dismissed(dialog: Dialog) -> None:
        wrong.append(dialog.message)
        dialog.dismiss()

    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", dismissed)
    tab.on("request", lambda one: asked.append(one.url))
    tab.on(
        "console", lambda one: wrong.append(one.text) if "Content Security" in one.text else None
    )
    return wrong, asked


def harmless(tab: Page) -> bool:
    """Whether no script ran that is not ours, and our own kept to the policy."""
    found: list[str] = tab.evaluate("window.wrong")
    assert found == []
    return True


@browser_only
def test_hostile_texts_are_shown_and_do_nothing(
    service: StageService, tab: Page, elsewhere: Elsewhere
) -> None:
    texts = corpus(elsewhere.url)
    assert len(texts) >= 100
    wrong, asked = watched(tab)
    for page in ("", "bench/", f"bench/{quote(RUN)}/"):
        tab.goto(f"{service.url}/reports/{page}")
        if "manual" in page:
            tab.wait_for_selector("html[data-drawn=yes]")
        assert harmless(tab)
    shown = tab.locator("body").inner_text()
    missing = [text for text in texts if " ".join(text.split()) not in " ".join(shown.split())]
    assert missing == []
    assert (
        tab.locator("main img, main iframe, main object, main embed, main [onerror]").count() == 0
    )
    assert tab.locator("a[href^=javascript]").count() == 0
    assert tab.locator(".plot svg.marks").count() == 5
    for mark in tab.locator(".plot .role-mark path").all()[:6]:
        mark.dispatch_event("mousemove")
        assert harmless(tab)
    assert wrong == []
    assert [url for url in asked if not url.startswith((service.url, "data:"))] == []
    assert elsewhere.asked == []


@browser_only
def test_a_text_that_an_address_names_is_told_and_does_nothing(
    service: StageService, tab: Page, elsewhere: Elsewhere
) -> None:
    """A run that is not there is named in the answer."""
    wrong, asked = watched(tab)
    for text in corpus(elsewhere.url)[::4]:
        tab.goto(f"{service.url}/reports/bench/{quote(text, safe='')}/")
        assert harmless(tab)
    assert wrong == []
    assert [url for url in asked if not url.startswith((service.url, "data:"))] == []
    assert elsewhere.asked == []


@browser_only
@pytest.mark.parametrize("name", ["script-owned-script", "wide-table"])
def test_a_file_of_a_report_is_no_page(
    service: StageService, tab: Page, elsewhere: Elsewhere, name: str
) -> None:
    """As an address of its own, where an SVG may run scripts; and no text ends the process that draws it."""
    reports = f"{service.url}/reports/bench/latest"
    page = tab.context.request.get(f"{reports}/").text()
    file = re.findall(rf'href="(report-1\d\d-{name})\.svg"', page)[0]
    for kind in ("svg", "json", "csv", "vl.json"):
        answer = tab.context.request.get(f"{reports}/{file}.{kind}")
        assert answer.ok
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "html" not in answer.headers["content-type"]
    tab.goto(f"{reports}/{file}.svg")
    assert harmless(tab)
    assert elsewhere.asked == []


@browser_only
def test_what_gets_into_a_page_all_the_same_is_stopped_by_its_policy(
    service: StageService, tab: Page, elsewhere: Elsewhere
) -> None:
    """The second wall: the texts as they are, put into the page as tags."""
    text = tab.context.request.get(f"{service.url}/reports/bench/latest/").text()
    tags = [tag for tag in corpus(elsewhere.url) if "meta" not in tag and "<!--" not in tag]
    body = text.replace("<main>", f"<main>{' '.join(tags)}")
    answer = tab.context.request.get(f"{service.url}/reports/")
    header = {"content-security-policy": answer.headers["content-security-policy"]}
    without = body.replace('http-equiv="Content-Security-Policy"', "")
    for page, headers in ((without, header), (body, {})):
        _serve(tab, page, {"content-type": "text/html; charset=utf-8", **headers})
        tab.goto(f"{service.url}/reports/walled/", wait_until="domcontentloaded")
        found: list[str] = tab.evaluate("window.wrong")
        assert "owned" not in found
        assert any(one.startswith("script-src") for one in found), "nothing had to be stopped"
        tab.unroute("**/walled/")
    assert elsewhere.asked == []


def _serve(tab: Page, body: str, headers: dict[str, str]) -> None:
    def answer(route: Route) -> None:
        route.fulfill(body=body, headers=headers)

    tab.route("**/walled/", answer)
