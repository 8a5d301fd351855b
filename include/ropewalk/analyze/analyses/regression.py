"""Linear regression by least squares: estimates with their errors, tests, and how well they fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ropewalk.contracts.columns import ColumnName, Columns
from ropewalk.contracts.plugins import PluginOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from ropewalk.kernel.task import Task


class Options(PluginOptions):
    """What is to be explained, and by what."""

    target: ColumnName = Field(description="the column to explain")
    features: list[ColumnName] = Field(
        min_length=1, description="the columns to explain it by; texts count as categories"
    )
    intercept: bool = True
    level: float = Field(0.95, gt=0, lt=1, description="of the confidence intervals")
    errors: Literal["classic", "robust"] = Field(
        "classic", description="robust: HC1, for unequal variances"
    )


def columns(_: Options, __: object) -> Columns:
    """What is told of a term."""
    return ("term", "estimate", "std_error", "t", "p", "ci_low", "ci_high")


def analyze(options: Options, task: Task) -> pa.Table:
    """One row per term: estimate, std_error, t, p, ci_low, ci_high."""
    from ropewalk.analyze.ols import regress

    return regress(options, task)
