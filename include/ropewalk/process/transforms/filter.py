"""Keep the rows that meet a condition; the others are counted as dropped by ``filter``."""

from __future__ import annotations

from typing import ClassVar

from ropewalk.contracts.plugins import TransformOptions
from ropewalk.contracts.template import SqlText
from ropewalk.process.relations import Filtered, Relation, Relations

CARDINALITY = "filter"


class Options(TransformOptions):
    """``where`` is a SQL condition over the columns; rows for which it is false or null are dropped."""

    shorthand: ClassVar[str | None] = "where"

    where: SqlText


def transform(options: Options, this: Relation, relations: Relations) -> Filtered:
    """The rows that meet the condition."""
    query = this.everything.where(relations.expression(options.where, this))
    return Filtered(query, kept=query)
