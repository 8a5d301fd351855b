"""Put a value where a column is null: ``columns: {wind_speed: 0}``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from sqlglot import exp

from ropewalk.contracts.plugins import TransformOptions
from ropewalk.process.relations import Relation, Relations
from ropewalk.process.types import typed

CARDINALITY = "1:1"


class Options(TransformOptions):
    """``columns`` gives the value of each; it takes the column's type, which does not change."""

    shorthand: ClassVar[str | None] = "columns"

    columns: dict[str, str | int | float | bool] = Field(min_length=1)


def transform(options: Options, this: Relation, relations: Relations) -> exp.Query:
    """All rows, without nulls in some columns."""
    made = []
    for name, value in options.columns.items():
        column = relations.column(this, name)
        own = typed(exp.convert(value), this.columns[column])
        filled = exp.func("coalesce", exp.column(column, quoted=True), own)
        made.append(exp.alias_(filled, column, quoted=True))
    return exp.select(exp.Star(replace=made)).from_(this.table)
