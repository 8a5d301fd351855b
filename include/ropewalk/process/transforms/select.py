"""Keep some columns, in the order given, or leave some out with ``exclude``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator
from sqlglot import exp

from ropewalk.contracts.plugins import TransformOptions
from ropewalk.process.relations import Relation, Relations

CARDINALITY = "1:1"


class Options(TransformOptions):
    """``columns`` are those to keep, ``exclude`` those to leave out: one of the two."""

    shorthand: ClassVar[str | None] = "columns"

    columns: list[str] = Field(default_factory=list)
    exclude: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one(self) -> Options:
        if bool(self.columns) == bool(self.exclude):
            raise ValueError("give either columns or exclude")
        return self


def transform(options: Options, this: Relation, relations: Relations) -> exp.Query:
    """All rows, some columns."""
    out = set(relations.columns(this, options.exclude))
    kept = relations.columns(this, options.columns) or [c for c in this.columns if c not in out]
    if not kept:
        raise relations.place.error("select leaves no column", code="no_columns")
    return exp.select(*(exp.column(name, quoted=True) for name in kept)).from_(this.table)
