"""Points: one value against another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from ropewalk.contracts.columns import ColumnName
from ropewalk.present.charting import MOST_ROWS, ChartOptions, Drawing, channel, columns, spec

if TYPE_CHECKING:
    import pyarrow as pa


class Options(ChartOptions):
    """What against what."""

    x: ColumnName
    y: ColumnName
    color: ColumnName | None = None
    size: ColumnName | None = None
    sample: int = Field(
        2_000, ge=1, le=MOST_ROWS, description="so many points at most, taken evenly"
    )


def draw(options: Options, table: pa.Table) -> Drawing:
    """A point per row, or per row of an even sample."""
    import numpy as np
    import pyarrow as pa

    data = columns(table, options.x, options.y, options.color, options.size)
    notes = []
    if data.num_rows > options.sample:
        notes.append(f"An even sample of {options.sample:,} of {data.num_rows:,} rows.")
        data = data.take(
            pa.array(np.linspace(0, data.num_rows - 1, options.sample).astype(np.int64))
        )
    encoding: dict[str, Any] = {
        "x": {**channel(data, options.x), "scale": {"zero": False}},
        "y": {**channel(data, options.y), "scale": {"zero": False}},
        "tooltip": [channel(data, name) for name in data.column_names],
    }
    for name in ("color", "size"):
        if (column := getattr(options, name)) is not None:
            encoding[name] = channel(data, column)
    return Drawing(
        data, spec({"type": "circle", "opacity": 0.55, "size": 36}, encoding), notes=notes
    )
