"""The report of a run: its charts, and where every row of it went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ropewalk.contracts.columns import Columns, check_named
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.plugins import PluginOptions, plugin

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task


class Options(PluginOptions):
    """What stands on the page."""

    title: str | None = Field(None, description="the workflow's, where it is not given")
    intro: str = Field("", description="a few sentences before the charts")
    charts: list[dict[str, Any]] = Field(
        default_factory=list, description="- bar: {of: step, x: column, y: column}"
    )


def inputs(options: Options) -> list[str]:
    """The steps whose data the charts show; ConfigError for a chart that is none."""
    return [drawn.of for _, drawn in chart_options(options)]


def columns(options: Options, inputs: Mapping[str, Columns]) -> Columns:
    """None: a page gives no data. ConfigError where a chart names a column that its step does not have."""
    for number, (kind, drawn) in enumerate(chart_options(options)):
        try:
            check_named(drawn, inputs.get(drawn.of), drawn.of)
        except ConfigError as error:
            error.field = f"charts.{number}.{kind}.{error.field}"
            raise
    return None


def chart_options(options: Options) -> list[tuple[str, Any]]:
    """Every chart's kind and its options."""
    found = []
    for number, item in enumerate(options.charts):
        if len(item) != 1:
            raise ConfigError(
                "a chart is one kind with its options: - bar: {…}", field=f"charts.{number}"
            )
        ((kind, given),) = item.items()
        try:
            found.append((kind, plugin("chart", kind).parse(given)))
        except ConfigError as error:
            error.field = f"charts.{number}.{kind}"
            raise
    return found


def render(options: Options, task: Task) -> None:
    """Make the page and the files behind it."""
    from ropewalk.present.report import render_report

    render_report(options, task)
