"""Describes every column: how many values, which range, which spread, which value most often."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from ropewalk.contracts.plugins import PluginOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from ropewalk.kernel.task import Task


class Options(PluginOptions):
    """Which columns."""

    shorthand: ClassVar[str | None] = "columns"

    columns: list[str] | None = Field(None, description="all, where it is not given")


def analyze(options: Options, task: Task) -> pa.Table:
    """One row per column of the input."""
    from ropewalk.analyze.summary import describe

    return describe(options, task)
