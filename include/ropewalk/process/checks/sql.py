"""A condition that every row must meet, or a SELECT of the rows that fail."""

from __future__ import annotations

from typing import ClassVar

from sqlglot import exp

from ropewalk.contracts.plugins import CheckOptions
from ropewalk.contracts.template import SqlText
from ropewalk.process.relations import Check, Relation, Relations, Rule
from ropewalk.process.sql import looks_like_select, tables

LONG = 120


class Options(CheckOptions):
    """``query`` is a condition over the columns (a null passes), or a SELECT over ``this`` and the inputs.

    Every row that a SELECT returns is a failure; but where it returns one boolean column, every value
    that is not true is one. ``message`` is the reason to show.
    """

    shorthand: ClassVar[str | None] = "query"

    query: SqlText
    message: str | None = None


def inputs(options: Options) -> list[str]:
    """The steps that a SELECT reads besides the one whose result it judges."""
    return list(tables(options.query)) if looks_like_select(options.query) else []


def check(options: Options, this: Relation, relations: Relations) -> Check:
    """The condition, or the query."""
    said = " ".join((options.message or options.query).split())
    claim = said if len(said) <= LONG else said[: LONG - 1] + "…"
    if looks_like_select(options.query):
        return Check(claim, query=_failures(options.query, relations))
    condition = relations.expression(options.query, this)
    reason = exp.Literal.string(options.message or f"not {claim}")
    columns = sorted({column.name for column in condition.find_all(exp.Column)})
    one = columns[0] if len(columns) == 1 else None
    return Check(claim, columns, [Rule(exp.not_(exp.paren(condition)), reason, one)])


def _failures(text: str, relations: Relations) -> exp.Query:
    query = relations.select(text)
    columns = relations.describe(query, text)
    counted = exp.select(
        exp.alias_(exp.Count(this=exp.Star()), "failed"),
        exp.alias_(exp.Literal.string(""), "detail"),
    ).from_(query.subquery("failures"))
    if list(columns.values()) != ["BOOLEAN"]:
        return counted
    value = exp.column(next(iter(columns)), quoted=True)
    return counted.where(exp.not_(exp.func("coalesce", value, exp.false())))
