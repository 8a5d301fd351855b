"""How many rows the result must have."""

from __future__ import annotations

from pydantic import model_validator
from sqlglot import exp

from ropewalk.contracts.plugins import CheckOptions
from ropewalk.process.relations import Check, Relation, Relations


class Options(CheckOptions):
    """At least ``min`` and at most ``max`` rows; one of them may be absent."""

    min: int | None = None
    max: int | None = None

    @model_validator(mode="after")
    def _some(self) -> Options:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        return self


def check(options: Options, this: Relation, relations: Relations) -> Check:  # noqa: ARG001
    """Neither too few rows nor too many."""
    rows = exp.Count(this=exp.Star())
    outside: list[exp.Expr] = [rows < options.min] if options.min is not None else []
    outside += [rows.copy() > options.max] if options.max is not None else []
    text = exp.cast(rows.copy(), "VARCHAR")
    query = exp.select(
        exp.alias_(exp.cast(exp.or_(*outside), "BIGINT"), "failed"),
        exp.alias_(exp.func("concat", exp.Literal.string("there are "), text), "detail"),
    ).from_(this.table)
    return Check(_claim(options), query=query)


def _claim(options: Options) -> str:
    if options.min is None:
        return f"at most {options.max} rows"
    if options.max is None:
        return f"at least {options.min} rows"
    return f"between {options.min} and {options.max} rows"
