"""Change the types of columns: ``columns: {dep_time: integer}``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from sqlglot import exp

from ropewalk.contracts.plugins import TransformOptions
from ropewalk.process.relations import Relation, Relations
from ropewalk.process.types import data_type

CARDINALITY = "1:1"


class Options(TransformOptions):
    """``columns`` gives the new type of each; what does not fit it is an error, or ``null``."""

    shorthand: ClassVar[str | None] = "columns"

    columns: dict[str, str] = Field(min_length=1)
    on_error: Literal["fail", "null"] = "fail"


def transform(options: Options, this: Relation, relations: Relations) -> exp.Query:
    """All rows, some columns of another type."""
    make = exp.cast if options.on_error == "fail" else _try_cast
    made = []
    for name, word in options.columns.items():
        column = exp.column(relations.column(this, name), quoted=True)
        made.append(exp.alias_(make(column, data_type(word, relations)), column.name, quoted=True))
    return exp.select(exp.Star(replace=made)).from_(this.table)


def _try_cast(column: exp.Column, kind: exp.DataType) -> exp.TryCast:
    return exp.TryCast(this=column, to=kind)
