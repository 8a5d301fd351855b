"""What every chart has: options, the table behind it, and a specification in Vega-Lite's own terms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ropewalk.contracts.errors import ConfigError, DataError, nearest
from ropewalk.contracts.models import MetricFormat
from ropewalk.contracts.plugins import PluginOptions

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
MOST_ROWS = 5_000
Aggregate = Literal["sum", "mean", "min", "max", "count"]


class ChartOptions(PluginOptions):
    """What every chart has."""

    of: str = Field(description="the step whose data is shown")
    title: str | None = None
    note: str | None = Field(None, description="a sentence under the title")
    width: Literal["half", "full", "third"] = "half"


@dataclass(frozen=True)
class Drawing:
    """A chart, drawn: the data behind it, and how it is shown; ``spec`` is Vega-Lite without data.

    ``form`` says how the history of runs writes a ``number``.
    """

    table: pa.Table
    spec: dict[str, Any] | None = None
    number: str | None = None
    form: MetricFormat | None = None
    notes: list[str] = field(default_factory=list)


def columns(table: pa.Table, *names: str | None) -> pa.Table:
    """The table with these columns only; ConfigError with the nearest name for one that is not there."""
    wanted = [name for name in dict.fromkeys(names) if name is not None]
    for name in wanted:
        if name not in table.column_names:
            raise ConfigError(
                f"the data has no column {name!r}",
                code="unknown_column",
                hint=nearest(name, table.column_names),
            )
    return table.select(wanted)


def aggregated(
    table: pa.Table, by: list[str], value: str | None, how: Aggregate | None
) -> tuple[pa.Table, str]:
    """One row per group, and the name of its value; the table as it is where nothing is to be aggregated."""
    if value is None:
        found = columns(table, *by).group_by(by).aggregate([([], "count_all")])
        return found.rename_columns([*by, "count"]), "count"
    if how is None:
        return columns(table, *by, value), value
    found = columns(table, *by, value).group_by(by).aggregate([(value, how)])
    return found.rename_columns([*by, value]), value


def bounded(table: pa.Table, *, hint: str) -> pa.Table:
    """The table, if a page can hold it."""
    if table.num_rows > MOST_ROWS:
        raise DataError(
            f"{table.num_rows:,} marks are too many for a chart: at most {MOST_ROWS:,}",
            code="too_many_marks",
            hint=hint,
        )
    return table


def channel(
    table: pa.Table, name: str, *, title: str | None = None, ordinal: bool = False
) -> dict[str, Any]:
    """How a column is encoded: by its type, with its name in words."""
    import pyarrow as pa

    kind = table.schema.field(name).type
    made: dict[str, Any] = {"field": escaped(name), "title": title or words(name)}
    if pa.types.is_temporal(kind) and not pa.types.is_time(kind) and not ordinal:
        return {**made, "type": "temporal"}
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if numeric and not ordinal:
        return {**made, "type": "quantitative"}
    return {**made, "type": "ordinal" if numeric else "nominal"}


def escaped(name: str) -> str:
    """A column's name as Vega takes it for a name and not for a path."""
    return name.replace("\\", "\\\\").replace(".", "\\.").replace("[", "\\[").replace("]", "\\]")


def words(name: str) -> str:
    """A column's name as people write it."""
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:] if len(text) > 1 else text


def spec(mark: dict[str, Any] | str, encoding: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A specification without data: as wide as its place."""
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": 280,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "mark": mark,
        "encoding": encoding,
        **more,
    }
