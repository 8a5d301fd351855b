"""A histogram: how often which values are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ropewalk.contracts.columns import ColumnName
from ropewalk.contracts.errors import ConfigError
from ropewalk.present.charting import ChartOptions, Drawing, columns, spec, words

if TYPE_CHECKING:
    import pyarrow as pa


class Options(ChartOptions):
    """Of which column, in how many bins."""

    x: ColumnName
    bins: int = Field(40, ge=2, le=500)
    low: float | None = Field(
        None, description="where the first bin begins; what is lower is counted in it"
    )
    high: float | None = Field(
        None, description="where the last bin ends; what is higher is counted in it"
    )


def draw(options: Options, table: pa.Table) -> Drawing:
    """A bar per bin; the rows are counted here, so that any number of them makes a small page."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    column = columns(table, options.x)[options.x].drop_null()
    try:
        values = np.asarray(pc.cast(column, pa.float64()))
        values = values[np.isfinite(values)]
    except pa.ArrowInvalid:
        raise ConfigError(
            f"column {options.x!r} is not of numbers", code="not_a_number", field="x"
        ) from None
    low = options.low if options.low is not None else float(values.min()) if len(values) else 0.0
    high = options.high if options.high is not None else float(values.max()) if len(values) else 1.0
    counts, edges = np.histogram(
        np.clip(values, low, high), options.bins, (low, max(high, low + 1e-9))
    )
    data = pa.table({"from": edges[:-1], "to": edges[1:], "count": counts})
    encoding = {
        "x": {
            "field": "from",
            "type": "quantitative",
            "bin": {"binned": True},
            "title": words(options.x),
        },
        "x2": {"field": "to"},
        "y": {"field": "count", "type": "quantitative", "title": "Rows"},
        "tooltip": [
            {"field": "from", "type": "quantitative", "format": ".4~g"},
            {"field": "to", "type": "quantitative", "format": ".4~g"},
            {"field": "count", "type": "quantitative", "format": ","},
        ],
    }
    notes = (
        [f"{table.num_rows - len(values):,} rows have no value."]
        if len(values) < table.num_rows
        else []
    )
    return Drawing(data, spec({"type": "bar", "binSpacing": 1}, encoding), notes=notes)
