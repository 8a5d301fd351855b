"""Rename columns: ``columns: {old: new}``; the others stay."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from sqlglot import exp

from ropewalk.contracts.plugins import TransformOptions
from ropewalk.process.relations import Relation, Relations

CARDINALITY = "1:1"


class Options(TransformOptions):
    """``columns`` gives the new name of each; all are renamed at once, so that two can be exchanged."""

    shorthand: ClassVar[str | None] = "columns"

    columns: dict[str, str] = Field(min_length=1)


def transform(options: Options, this: Relation, relations: Relations) -> exp.Query:
    """All rows and columns, some under another name."""
    new = {relations.column(this, old): name for old, name in options.columns.items()}
    made = [_named(column, new.get(column, column)) for column in this.columns]
    return exp.select(*made).from_(this.table)


def _named(column: str, name: str) -> exp.Expr:
    own = exp.column(column, quoted=True)
    return own if name == column else exp.alias_(own, name, quoted=True)
