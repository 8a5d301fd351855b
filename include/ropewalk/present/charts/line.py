"""Lines: how a value moves along another."""

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
    """Along what, which value, and one line for each of what."""

    x: ColumnName
    y: ColumnName | None = Field(
        None, description="the value; the number of rows, where it is not given"
    )
    color: ColumnName | None = Field(None, description="one line for each of its values")
    aggregate: Aggregate | None = None
    points: bool = Field(default=True, description="whether each value is marked")


def draw(options: Options, table: pa.Table) -> Drawing:
    """A line, or several."""
    by = [name for name in (options.x, options.color) if name]
    data, value = aggregated(table, by, options.y, options.aggregate)
    data = bounded(data.sort_by(options.x), hint="aggregate in a process step")
    encoding: dict[str, Any] = {
        "x": channel(data, options.x),
        "y": channel(data, value),
        "tooltip": [channel(data, name) for name in (*by, value)],
    }
    if options.color:
        encoding["color"] = channel(data, options.color, ordinal=True)
    few = options.points and data.num_rows <= 400  # noqa: PLR2004 - more points are a smear
    return Drawing(data, spec({"type": "line", "strokeWidth": 2.2, "point": few}, encoding))
