"""A column whose values must lie between two bounds, both included."""

from __future__ import annotations

from pydantic import model_validator
from sqlglot import exp

from ropewalk.contracts.plugins import CheckOptions
from ropewalk.process.relations import Check, Relation, Relations, Rule
from ropewalk.process.types import typed

Bound = int | float | str


class Options(CheckOptions):
    """``min`` and ``max`` are included; one of them may be absent. A null passes."""

    column: str
    min: Bound | None = None
    max: Bound | None = None

    @model_validator(mode="after")
    def _some(self) -> Options:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        return self


def check(options: Options, this: Relation, relations: Relations) -> Check:
    """No value outside the bounds."""
    name = relations.column(this, options.column)
    column = exp.column(name, quoted=True)
    low, high = (_bound(value, this.columns[name]) for value in (options.min, options.max))
    outside: list[exp.Expr] = [column < low] if low is not None else []
    outside += [column > high] if high is not None else []
    claim = _claim(options)
    shown = exp.cast(column.copy(), "VARCHAR")
    reason = exp.DPipe(
        this=exp.DPipe(this=exp.Literal.string(f"{name} is "), expression=shown),
        expression=exp.Literal.string(f", not {claim}"),
        safe=True,
    )
    rule = Rule(fails=exp.or_(*outside), reason=reason, column=name)
    return Check(f"{name} {claim}", [name], [rule])


def _bound(value: Bound | None, kind: str) -> exp.Expr | None:
    if value is None:
        return None
    literal = exp.convert(value)
    return typed(literal, kind) if isinstance(value, str) else literal


def _claim(options: Options) -> str:
    if options.min is None:
        return f"at most {options.max}"
    if options.max is None:
        return f"at least {options.min}"
    return f"between {options.min} and {options.max}"
