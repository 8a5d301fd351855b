"""A number: the one that matters, large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from ropewalk.contracts.columns import ColumnName
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import MetricFormat
from ropewalk.present.charting import Aggregate, ChartOptions, Drawing, columns, words
from ropewalk.present.digits import written

if TYPE_CHECKING:
    import pyarrow as pa


class Options(ChartOptions):
    """Which value, and how it is written."""

    value: ColumnName | None = Field(
        None, description="the column; the number of rows, where it is not given"
    )
    aggregate: Aggregate = "sum"
    format: str = Field(",.6g", description="as Python writes numbers: ,.0f or .1%")
    unit: str = ""


def draw(options: Options, table: pa.Table) -> Drawing:
    """The number, and the one row behind it."""
    import pyarrow as pa

    name = options.value or "rows"
    value = _value(options, table)
    form = MetricFormat(format=_format(options.format), unit=options.unit)
    table = pa.table({options.title or words(name): [value]})
    return Drawing(table, number=written(value, form), form=form)


def _value(options: Options, table: pa.Table) -> Any:
    import pyarrow.compute as pc

    if options.value is None:
        return table.num_rows
    column = columns(table, options.value)[options.value]
    if options.aggregate == "count":
        return pc.count(column).as_py()
    try:
        return getattr(pc, options.aggregate)(column).as_py()
    except Exception as error:
        raise ConfigError(
            f"column {options.value!r} has no {options.aggregate}", code="not_a_number"
        ) from error


def _format(text: str) -> str:
    try:
        format(1.5, text)
    except ValueError:
        raise ConfigError(
            f"{text!r} is no format of a number", field="format", hint=",.0f or .1%"
        ) from None
    return text
