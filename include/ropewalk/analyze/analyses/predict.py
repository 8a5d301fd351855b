"""Predicts with a trained model, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from ropewalk.contracts.columns import ColumnName, Columns
from ropewalk.contracts.plugins import PluginOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from ropewalk.kernel.task import Task


class Options(PluginOptions):
    """Which model, and what the result is called."""

    model: str = Field(description="the step that trained the model")
    column: str = Field("prediction", description="the name of the new column")
    keep: list[ColumnName] | None = Field(
        None, description="the columns that stay; all, where it is not given"
    )


def inputs(options: Options) -> list[str]:
    """The step of the model."""
    return [options.model]


def columns(options: Options, inputs: Mapping[str, Columns]) -> Columns:
    """Those that stay, and the prediction."""
    data = next((found for name, found in inputs.items() if name != options.model), None)
    kept = data if options.keep is None else tuple(options.keep)
    return None if kept is None else (*kept, options.column)


def analyze(options: Options, task: Task) -> pa.RecordBatchReader:
    """The rows of the input with the prediction beside them."""
    from ropewalk.analyze.learning import predict

    return predict(options, task)
