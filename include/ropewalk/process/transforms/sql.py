"""A SELECT over the step's inputs, by their steps' names, and over ``this``, what the transform before has made."""

from __future__ import annotations

from typing import ClassVar

from ropewalk.contracts.plugins import TransformOptions
from ropewalk.contracts.template import SqlText
from ropewalk.process.relations import Relation, Relations, Result
from ropewalk.process.shape import result_of
from ropewalk.process.sql import tables


class Options(TransformOptions):
    """``query`` is one SELECT in DuckDB's dialect."""

    shorthand: ClassVar[str | None] = "query"

    query: SqlText


def inputs(options: Options) -> list[str]:
    """The steps that the query reads."""
    return list(tables(options.query))


def transform(options: Options, this: Relation, relations: Relations) -> Result:  # noqa: ARG001
    """The query's result."""
    return result_of(relations.select(options.query), relations)
