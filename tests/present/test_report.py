"""The page of a run: what it says, what it holds, and what hostile rows can do to it (nothing)."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright
from ropewalk.contracts.errors import ConfigError
from ropewalk.testing.bench import TaskBench

from tests.present.conftest import EVIL, page, steps

CHROMIUM = shutil.which("chromium")
browser_only = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")


class Texts(HTMLParser):
    """The rows of all tables, and the texts of all else."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.text = ""
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the parser's
        self.tags.append(tag)
        self._inside.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" in self._inside or "style" in self._inside:
            return
        self.text += data
        if {"td", "th"} & set(self._inside):
            self.rows[-1][-1] += data


@pytest.fixture
def told(folder: Path) -> Texts:
    """What the page says."""
    found = Texts()
    found.feed((folder / "index.html").read_text(encoding="utf-8"))
    return found


def test_every_row_is_accounted_for(told: Texts) -> None:
    rows = [[cell.strip() for cell in row] for row in told.rows]
    days = next(row for row in rows if row[0] == "dayscollect · files")
    clean = next(row for row in rows if row[0] == "cleanprocess · sql")
    assert days[1:6] == ["4", "3", "1", "", "filter ✓4 read = 3 out + 1 quarantined"]
    assert clean[1:6] == ["3", "2", "1", "", "1:1 ✓3 days = 2 out + 1 quarantined"]
    assert ["clean", "between", "delay", "quarantined", "1"] in [row[:5] for row in rows]
    assert ["1", "type", "n", "n: x is no int64"] in rows
    assert ["word", "days.word"] in rows


def test_quarantined_rows_are_shown_with_their_place(told: Texts) -> None:
    (row,) = [row for row in told.rows if len(row) == 4 and row[1] == "4"]
    assert row[0] == "data://days.csv"
    assert row[2] == "n: x is no int64"
    assert json.loads(row[3]) == {"n": "x", "word": EVIL, "delay": "3"}


def test_hostile_text_makes_no_tags(told: Texts, folder: Path) -> None:
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert EVIL in told.text


def test_the_files_behind_each_chart(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 4 * 5 + 1
    assert {name.rpartition(".")[2] for name in names} == {"html", "svg", "png", "csv", "json"}
    for name in names:
        data = (folder / name).read_bytes()
        if name.endswith("png"):
            assert data.startswith(b"\x89PNG")
        elif name.endswith("svg"):
            assert data.startswith(b"<svg")
            assert b"<script" not in data
        elif name.endswith(".vl.json"):
            assert json.loads(data)["data"]["values"]
    table = json.loads((folder / "report-04-all.json").read_bytes())
    with (folder / "report-04-all.csv").open(newline="") as file:
        assert (
            [row["word"] for row in csv.DictReader(file)]
            == [row["word"] for row in table]
            == [EVIL, "b"]
        )


def test_what_another_run_has_done_says_which(bench: TaskBench, root: Path) -> None:
    """Each step of it, and none that this run has done itself."""
    done = steps(bench, root, run="the-first")
    own = steps(bench, root, run="the-second")
    report = bench.perform(page(bench, {**done, "clean": own["clean"]}, run="the-second"))
    told = Texts()
    told.feed(bench.store.artifact(report.key, "index.html")[0].decode())
    why = {
        row[0].strip().partition("collect")[0].partition("process")[0]: row[-1]
        for row in told.rows
        if len(row) == 8
    }
    assert why["days"].split() == ["reused", "from", "run", "the-first"]
    assert "reused" not in why["clean"]


def test_its_numbers_are_kept_for_the_history(bench: TaskBench, root: Path) -> None:
    report = bench.perform(page(bench, steps(bench, root)))
    assert report.metrics == {"Rows": 2, "Rows in quarantine": 2}


@pytest.mark.parametrize(
    ("charts", "said"),
    [
        ([{"bar": {"of": "clean", "x": "wrod"}}], "the data has no column 'wrod' (did you mean 'word'?)"),
        ([{"bra": {"of": "clean"}}], "there is no chart 'bra' (did you mean 'bar'?)"),
        ([{"bar": {"of": "clean", "x": "word"}, "line": {}}], "a chart is one kind with its options"),
    ],
)  # fmt: skip
def test_a_chart_that_is_wrong(bench: TaskBench, root: Path, charts: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bench.perform(page(bench, steps(bench, root), charts=charts))
    assert said in str(caught.value)


@pytest.fixture
def tab() -> Iterator[Page]:
    """A browser's tab without network; what it complains of and asks for is written down."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(offline=True)
        yield context.new_page()
        browser.close()


@browser_only
def test_in_a_browser_without_network(folder: Path, tab: Page) -> None:
    wrong: list[str] = []
    asked: list[str] = []
    tab.on(
        "console", lambda message: wrong.append(message.text) if message.type == "error" else None
    )
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", lambda dialog: wrong.append(dialog.message))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto((folder / "index.html").as_uri())
    tab.wait_for_selector("html[data-drawn=yes]")
    assert tab.locator(".plot svg.marks").count() == 2
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []


@browser_only
def test_light_dark_and_on_a_phone(folder: Path, tab: Page) -> None:
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.goto((folder / "index.html").as_uri())
    tab.wait_for_selector("html[data-drawn=yes]")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    paper = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(paper)
    tab.get_by_role("button", name="Theme").click()
    assert tab.evaluate(paper) != light
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
