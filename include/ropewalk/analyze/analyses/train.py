"""Trains a model of scikit-learn's, and keeps it as a dataset with its metrics and its data's fingerprint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ropewalk.contracts.columns import ColumnName, Columns
from ropewalk.contracts.plugins import PluginOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from ropewalk.kernel.task import Task


class Options(PluginOptions):
    """What is to be learnt, from what, and how."""

    target: ColumnName
    features: list[ColumnName] = Field(
        min_length=1, description="columns; texts count as categories"
    )
    estimator: Literal[
        "linear_regression", "ridge", "random_forest_regressor", "gradient_boosting_regressor",
        "logistic_regression", "random_forest_classifier", "gradient_boosting_classifier",
    ] = "gradient_boosting_regressor"  # fmt: skip
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="of the estimator, as scikit-learn names them"
    )
    test_size: float = Field(
        0.2, gt=0, lt=1, description="the share of rows that only the metrics see"
    )
    seed: int = 0
    max_rows: int = Field(
        1_000_000,
        ge=10,
        description="a sample of so many rows is learnt from, where there are more",
    )


def columns(_: Options, __: object) -> Columns:
    """The model, and what is told of it."""
    data = ("rows", "training_fingerprint", "metrics")
    return ("estimator", "target", "features", *data, "model")


def analyze(options: Options, task: Task) -> pa.Table:
    """One row: the model and all that is known of it."""
    from ropewalk.analyze.learning import train

    return train(options, task)
