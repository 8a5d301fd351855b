"""Linear regression by least squares: estimates with their errors, tests, and how well they fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ropewalk.contracts.plugins import PluginOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from ropewalk.kernel.task import Task


class Options(PluginOptions):
    """What is to be explained, and by what."""

    target: str = Field(description="the column to explain")
    features: list[str] = Field(
        min_length=1, description="the columns to explain it by; texts count as categories"
    )
    intercept: bool = True
    level: float = Field(0.95, gt=0, lt=1, description="of the confidence intervals")
    errors: Literal["classic", "robust"] = Field(
        "classic", description="robust: HC1, for unequal variances"
    )


def analyze(options: Options, task: Task) -> pa.Table:
    """One row per term: estimate, std_error, t, p, ci_low, ci_high."""
    from ropewalk.analyze.ols import regress

    return regress(options, task)
