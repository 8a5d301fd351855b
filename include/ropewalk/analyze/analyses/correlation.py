"""Correlation of every two columns of numbers, with the probability of it by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ropewalk.contracts.columns import ColumnName, Columns
from ropewalk.contracts.plugins import PluginOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from ropewalk.kernel.task import Task


class Options(PluginOptions):
    """Which columns, and which measure."""

    shorthand: ClassVar[str | None] = "columns"

    columns: list[ColumnName] | None = Field(
        None, min_length=2, description="all numbers, where it is not given"
    )
    method: Literal["pearson", "spearman"] = "pearson"


def columns(_: Options, __: object) -> Columns:
    """The columns of a pair."""
    return ("a", "b", "r", "n", "p")


def analyze(options: Options, task: Task) -> pa.Table:
    """One row per pair: a, b, r, n, p."""
    from ropewalk.analyze.summary import correlation

    return correlation(options, task)
