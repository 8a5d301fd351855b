"""A table: the rows themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ropewalk.contracts.columns import ColumnName, SortedBy
from ropewalk.present.charting import ChartOptions, Drawing, columns

if TYPE_CHECKING:
    import pyarrow as pa


class Options(ChartOptions):
    """Which columns, and how many rows."""

    columns: list[ColumnName] | None = None
    rows: int = Field(100, ge=1, le=2_000, description="the first so many rows")
    sort: SortedBy | None = Field(
        None, description="a column to sort by; -column for the largest first"
    )


def draw(options: Options, table: pa.Table) -> Drawing:
    """The first rows."""
    data = columns(table, *(options.columns or table.column_names))
    if options.sort:
        name = options.sort.removeprefix("-")
        columns(table, name)
        order = "descending" if options.sort.startswith("-") else "ascending"
        data = columns(table.sort_by([(name, order)]), *data.column_names)
    notes = (
        [f"The first {options.rows:,} of {data.num_rows:,} rows."]
        if data.num_rows > options.rows
        else []
    )
    return Drawing(data.slice(0, options.rows), notes=notes)
