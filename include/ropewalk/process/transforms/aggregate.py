"""One row per group: ``by`` names the groups' columns, ``columns`` gives each new column as a SQL aggregate."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sqlglot import exp

from ropewalk.contracts.plugins import TransformOptions
from ropewalk.contracts.template import Sql
from ropewalk.process.relations import Relation, Relations

CARDINALITY = "n:1"


class Options(TransformOptions):
    """``columns: {flights: count(*), mean_delay: avg(dep_delay)}``; without ``by`` the whole is one group."""

    by: list[str] = Field(default_factory=list)
    columns: Annotated[dict[str, str], Sql()] = Field(min_length=1)


def transform(options: Options, this: Relation, relations: Relations) -> exp.Query:
    """One row per group."""
    groups = [exp.column(name, quoted=True) for name in relations.columns(this, options.by)]
    made = [
        exp.alias_(relations.expression(text, this), name, quoted=True)
        for name, text in options.columns.items()
    ]
    query = exp.select(*groups, *made).from_(this.table)
    return query.group_by(*(group.copy() for group in groups)) if groups else query
