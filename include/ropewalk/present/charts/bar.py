"""Bars: one value per category."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ropewalk.contracts.columns import ColumnName
from ropewalk.present.charting import (
    Aggregate,
    ChartOptions,
    Drawing,
    aggregated,
    bounded,
    channel,
    spec,
)

if TYPE_CHECKING:
    import pyarrow as pa

FEW = 6  # labels that stand beside each other


class Options(ChartOptions):
    """Which categories and which value."""

    x: ColumnName = Field(description="the categories")
    y: ColumnName | None = Field(
        None, description="the value; the number of rows, where it is not given"
    )
    color: ColumnName | None = Field(None, description="parts of each bar")
    aggregate: Aggregate | None = Field(
        None, description="how rows of one category become one value"
    )
    sort: Literal["x", "-x", "y", "-y", "data"] = "-y"
    horizontal: bool = False
    limit: int | None = Field(None, ge=1, description="the first so many bars only")


def draw(options: Options, table: pa.Table) -> Drawing:
    """A bar per category."""
    by = [name for name in (options.x, options.color) if name]
    data, value = aggregated(table, by, options.y, options.aggregate)
    notes = []
    if options.limit and data.num_rows > options.limit:
        notes.append(f"The first {options.limit} of {data.num_rows:,}.")
        data = data.sort_by([(value, "descending")]).slice(0, options.limit)
    data = bounded(data, hint="limit: 30 shows the first bars")
    bars, height = ("y", "x") if options.horizontal else ("x", "y")
    order = {"x": "ascending", "-x": "descending", "data": None, "y": height, "-y": f"-{height}"}[
        options.sort
    ]
    category = {**channel(data, options.x, ordinal=True), "sort": order}
    if not options.horizontal:
        category["axis"] = {"labelAngle": -40 if data.num_rows > FEW else 0, "labelLimit": 120}
    encoding: dict[str, Any] = {
        bars: category,
        height: channel(data, value),
        "tooltip": [channel(data, name, ordinal=name in by) for name in (*by, value)],
    }
    if options.color:
        encoding["color"] = channel(data, options.color, ordinal=True)
    mark = {"type": "bar", "cornerRadiusEnd": 3}
    made = spec(mark, encoding)
    if options.horizontal:
        made["height"] = {"step": 22}
    return Drawing(data, made, notes=notes)
