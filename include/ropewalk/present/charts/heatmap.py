"""A heat map: a value by two categories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


class Options(ChartOptions):
    """Which categories, and which value."""

    x: ColumnName
    y: ColumnName
    color: ColumnName | None = Field(
        None, description="the value; the number of rows, where it is not given"
    )
    aggregate: Aggregate | None = None
    diverging: bool = Field(default=False, description="whether the value has a middle at zero")


def draw(options: Options, table: pa.Table) -> Drawing:
    """A coloured field per pair."""
    data, value = aggregated(table, [options.x, options.y], options.color, options.aggregate)
    data = bounded(data, hint="aggregate in a process step")
    scale: dict[str, Any] = (
        {"scheme": "blueorange", "domainMid": 0} if options.diverging else {"scheme": "viridis"}
    )
    encoding = {
        "x": {**channel(data, options.x, ordinal=True), "axis": {"labelAngle": 0}},
        "y": channel(data, options.y, ordinal=True),
        "color": {**channel(data, value), "scale": scale},
        "tooltip": [channel(data, name, ordinal=name != value) for name in data.column_names],
    }
    return Drawing(
        data, {**spec({"type": "rect", "cornerRadius": 2}, encoding), "height": {"step": 34}}
    )
