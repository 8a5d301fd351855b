"""Describes every column: how many values, which range, which spread, which value most often."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from ropewalk.contracts.columns import ColumnName, Columns
from ropewalk.contracts.plugins import PluginOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from ropewalk.kernel.task import Task


class Options(PluginOptions):
    """Which columns."""

    shorthand: ClassVar[str | None] = "columns"

    columns: list[ColumnName] | None = Field(None, description="all, where it is not given")


def columns(_: Options, __: object) -> Columns:
    """What is told of a column."""
    counts, spread = ("rows", "nulls", "distinct_approx"), ("mean", "std", "q1", "median", "q3")
    return ("column", "type", *counts, "min", "max", *spread, "top")


def analyze(options: Options, task: Task) -> pa.Table:
    """One row per column of the input."""
    from ropewalk.analyze.summary import describe

    return describe(options, task)
