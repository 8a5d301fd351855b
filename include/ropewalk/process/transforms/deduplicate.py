"""Keep one row of those that are equal in some columns; the others are counted as dropped by ``deduplicate``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from sqlglot import exp

from ropewalk.contracts.plugins import TransformOptions
from ropewalk.process.relations import Filtered, Relation, Relations

CARDINALITY = "filter"


class Options(TransformOptions):
    """``by`` names the columns (none: all of them); nulls in them are equal.

    ``keep`` is the first or the last row in the order of ``order_by``, and then of all other
    columns, so that it is always the same one; a null is after every value, and for ``last`` before it.
    """

    shorthand: ClassVar[str | None] = "by"

    by: list[str] = Field(default_factory=list)
    order_by: list[str] = Field(default_factory=list)
    keep: Literal["first", "last"] = "first"


def transform(options: Options, this: Relation, relations: Relations) -> Filtered:
    """One row for each combination of values."""
    by = relations.columns(this, options.by) or list(this.columns)
    first = relations.columns(this, options.order_by)
    order = first + [name for name in this.columns if name not in {*by, *first}]
    number = exp.Window(
        this=exp.RowNumber(),
        partition_by=[exp.column(name, quoted=True) for name in by],
        order=exp.Order(expressions=[_ordered(name, options.keep) for name in order])
        if order
        else None,
    )
    query = this.everything.copy()
    query.set("qualify", exp.Qualify(this=exp.EQ(this=number, expression=exp.Literal.number(1))))
    kept = exp.select(*(exp.column(name, quoted=True) for name in by)).distinct().from_(this.table)
    return Filtered(query, kept=kept)


def _ordered(name: str, keep: str) -> exp.Ordered:
    return exp.Ordered(this=exp.column(name, quoted=True), desc=keep == "last", nulls_first=False)
