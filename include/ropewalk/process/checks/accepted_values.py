"""A column that may have only certain values."""

from __future__ import annotations

from pydantic import Field
from sqlglot import exp

from ropewalk.contracts.plugins import CheckOptions
from ropewalk.process.relations import Check, Relation, Relations, Rule
from ropewalk.process.types import typed

SHOWN = 10


class Options(CheckOptions):
    """``values`` are all that ``column`` may have. A null passes."""

    column: str
    values: list[str | int | float | bool] = Field(min_length=1)


def check(options: Options, this: Relation, relations: Relations) -> Check:
    """No other value."""
    name = relations.column(this, options.column)
    column = exp.column(name, quoted=True)
    kind = this.columns[name]
    accepted = [
        typed(exp.convert(value), kind) if isinstance(value, str) else exp.convert(value)
        for value in options.values
    ]
    listed = ", ".join(str(value) for value in options.values[:SHOWN])
    more = ", …" if len(options.values) > SHOWN else ""
    shown = exp.cast(column.copy(), "VARCHAR")
    reason = exp.DPipe(
        this=exp.DPipe(this=exp.Literal.string(f"{name} is "), expression=shown),
        expression=exp.Literal.string(f", not one of {listed}{more}"),
        safe=True,
    )
    fails = exp.not_(exp.In(this=column, expressions=accepted))
    return Check(
        f"{name} one of {listed}{more}", [name], [Rule(fails=fails, reason=reason, column=name)]
    )
