"""Makes the report of a run: its charts, the files behind them, and the story of its rows, on one page."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ropewalk.contracts.errors import RopewalkError
from ropewalk.contracts.plugins import plugin
from ropewalk.present import html
from ropewalk.present.charting import ChartOptions, Drawing, words
from ropewalk.present.digits import is_number, texts
from ropewalk.present.graph import graph_of
from ropewalk.present.pages.report import Options, chart_options
from ropewalk.present.pictures import KINDS, csv_of, drawn, json_of, still, values_of
from ropewalk.present.story import story_of

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task

PAGE = "index.html"


@dataclass(frozen=True)
class Column:
    """A column of a table as people read it."""

    title: str
    numeric: bool
    texts: list[str]


@dataclass(frozen=True)
class Chart:
    """A chart on the page: ``file`` begins the names of the files behind it."""

    kind: str
    options: ChartOptions
    drawing: Drawing
    values: list[dict[str, Any]]
    file: str

    @property
    def title(self) -> str:
        """Its title, or what it shows."""
        return self.options.title or words(f"{self.options.of}: {self.kind}")

    @property
    def table(self) -> list[Column]:
        """The columns of a table on the page."""
        names = self.drawing.table.column_names
        found = {name: [row[name] for row in self.values] for name in names}
        return [
            Column(words(name), any(map(is_number, values)), texts(values))
            for name, values in found.items()
        ]

    @property
    def data(self) -> dict[str, Any] | None:
        """What the browser draws."""
        if self.drawing.spec is None:
            return None
        return {**self.drawing.spec, "data": {"values": self.values}}


def render_report(options: Options, task: Task) -> None:
    """Make the page and the files behind it."""
    charts = [
        _chart(task, number, kind, given)
        for number, (kind, given) in enumerate(chart_options(options), start=1)
    ]
    for number, chart in enumerate(charts, start=1):
        task.progress(message=f"writes chart {number} of {len(charts)}: {chart.title}")
        _add_files(task, chart)
    story = story_of(task)
    for chart in charts:
        if chart.drawing.number is not None:
            value = next(iter(chart.values[0].values()))
            task.metric(chart.title, value, chart.drawing.form)
    task.metric("Rows in quarantine", story.quarantined)
    request = task.request
    text = html.page(
        "report.html",
        title=options.title or request.run.title or request.workflow,
        workflow=request.workflow,
        step=request.step,
        run=request.run,
        partition=request.partition,
        intro=options.intro,
        made=task.started,
        numbers=[chart for chart in charts if chart.drawing.number is not None],
        charts=[chart for chart in charts if chart.drawing.number is None],
        story=story,
        graph=graph_of(story),
    )
    task.artifact(PAGE, text.encode(), "text/html; charset=utf-8")


def _chart(task: Task, number: int, kind: str, given: ChartOptions) -> Chart:
    try:
        drawing = plugin("chart", kind).function(given, task.input(given.of).table())
    except RopewalkError as error:
        error.field = error.field or f"charts.{number - 1}.{kind}"
        raise
    slug = re.sub(r"[^a-z0-9]+", "-", (given.title or f"{given.of} {kind}").lower()).strip("-")[:40]
    file = f"{task.request.step}-{number:02}-{slug or kind}"
    return Chart(kind, given, drawing, values_of(drawing.table), file)


def _add_files(task: Task, chart: Chart) -> None:
    """The data behind a chart, and a specification that stands alone: all that its pictures are drawn from."""
    spec = json.dumps(still(chart.drawing, chart.title, chart.options.width, chart.values))
    task.artifact(f"{chart.file}.vl.json", spec.encode(), "application/json")
    task.artifact(f"{chart.file}.csv", csv_of(chart.drawing.table), "text/csv; charset=utf-8")
    task.artifact(f"{chart.file}.json", json_of(chart.values), "application/json")
    for kind, media_type in KINDS.items() if task.settings.pictures == "kept" else ():
        task.artifact(f"{chart.file}.{kind}", drawn(spec, kind), media_type)
