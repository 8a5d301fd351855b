"""Columns whose values together must be different in every row."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from sqlglot import exp

from ropewalk.contracts.plugins import CheckOptions
from ropewalk.process.relations import Check, Relation, Relations


class Options(CheckOptions):
    """``columns`` are the key. A row with a null in it is not compared, as in SQL.

    With ``on_fail: quarantine`` the first row of each key goes on, in the order of all columns, and the others
    are set aside. What fails otherwise is counted in rows beyond the first.
    """

    shorthand: ClassVar[str | None] = "columns"

    columns: list[str] = Field(min_length=1)


def check(options: Options, this: Relation, relations: Relations) -> Check:
    """No key twice."""
    names = relations.columns(this, options.columns)
    columns = [exp.column(name, quoted=True) for name in names]
    known = exp.and_(*(exp.not_(column.copy().is_(exp.null())) for column in columns))
    doubled = (
        exp.select(*columns, exp.alias_(exp.Count(this=exp.Star()) - 1, "more", quoted=True))
        .from_(this.table)
        .where(known)
        .group_by(*(column.copy() for column in columns))
        .having(exp.Count(this=exp.Star()) > 1)
    )
    more = exp.column("more", quoted=True)
    shown = [
        exp.func(
            "concat_ws", exp.Literal.string(", "), *(exp.cast(c.copy(), "VARCHAR") for c in columns)
        )
    ]
    query = exp.select(
        exp.alias_(exp.func("coalesce", exp.func("sum", more), exp.Literal.number(0)), "failed"),
        exp.alias_(
            exp.func("concat", exp.Literal.string("for example "), exp.func("min", *shown)),
            "detail",
        ),
    ).from_(doubled.subquery("doubled"))
    return Check(f"{', '.join(names)} unique", names, key=names, query=query)
