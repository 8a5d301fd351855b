"""Add the columns of another input to the rows that have the same values in some columns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from sqlglot import exp

from ropewalk.contracts.columns import fold
from ropewalk.contracts.plugins import TransformOptions
from ropewalk.process.relations import Filtered, Relation, Relations

CARDINALITY = "join"


class Options(TransformOptions):
    """``by`` names columns that both have, or maps the left one's to the right one's: ``{dest: faa}``.

    ``columns`` are those to take from the other (none given: all). ``semi`` keeps the rows that have a
    match, ``anti`` those that have none, and neither takes a column.
    """

    input: str
    by: list[str] | dict[str, str] = Field(min_length=1)
    how: Literal["left", "inner", "semi", "anti"] = "left"
    columns: list[str] = Field(default_factory=list)


def inputs(options: Options) -> list[str]:
    """The step whose columns are added."""
    return [options.input]


def transform(options: Options, this: Relation, relations: Relations) -> exp.Query | Filtered:
    """The rows of this relation with what belongs to them."""
    other = relations.get(options.input)
    pairs = options.by if isinstance(options.by, dict) else {name: name for name in options.by}
    keys = {
        relations.column(this, left): relations.column(other, right)
        for left, right in pairs.items()
    }
    on = exp.and_(*(_of("l", left).eq(_of("r", right)) for left, right in keys.items()))
    if options.how in {"semi", "anti"}:
        match = exp.Exists(this=exp.select("1").from_(_as(other, "r")).where(on))
        condition = match if options.how == "semi" else exp.not_(match)
        matching = exp.select(_all()).from_(_as(this, "l")).where(condition)
        return Filtered(matching, kept=matching)
    taken = _taken(options, this, other, set(keys.values()), relations)
    made = [_of("r", name) for name in taken]
    return (
        exp.select(_all(), *made)
        .from_(_as(this, "l"))
        .join(_as(other, "r"), on=on, join_type=options.how)
    )


def _taken(
    options: Options, this: Relation, other: Relation, keys: set[str], relations: Relations
) -> list[str]:
    given = relations.columns(other, options.columns)
    taken = given or [name for name in other.columns if name not in keys]
    own = {fold(name) for name in this.columns}
    doubled = next((name for name in taken if fold(name) in own), None)
    if doubled is not None:
        raise relations.place.error(
            f"both {this.label} and {other.label} have a column {doubled!r}",
            code="duplicate_column",
            hint="name the columns to take with columns: […], or rename one before",
        )
    return taken


def _of(alias: str, name: str) -> exp.Column:
    return exp.column(name, table=alias, quoted=True)


def _as(relation: Relation, alias: str) -> exp.Table:
    table = relation.table
    table.set("alias", exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
    return table


def _all() -> exp.Column:
    return exp.Column(this=exp.Star(), table=exp.to_identifier("l", quoted=True))
