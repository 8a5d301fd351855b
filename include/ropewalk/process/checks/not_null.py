"""Columns that must have a value in every row."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from sqlglot import exp

from ropewalk.contracts.plugins import CheckOptions
from ropewalk.process.relations import Check, Relation, Relations, Rule


class Options(CheckOptions):
    """``columns`` must not be null."""

    shorthand: ClassVar[str | None] = "columns"

    columns: list[str] = Field(min_length=1)


def check(options: Options, this: Relation, relations: Relations) -> Check:
    """No nulls."""
    columns = relations.columns(this, options.columns)
    rules = [
        Rule(
            fails=exp.column(name, quoted=True).is_(exp.null()),
            reason=exp.Literal.string(f"{name} is null"),
            column=name,
        )
        for name in columns
    ]
    return Check(f"{', '.join(columns)} not null", columns, rules)
