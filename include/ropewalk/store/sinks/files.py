"""Files: Parquet, CSV or Arrow in a folder or a bucket, a part per partition that replaces itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ropewalk.contracts.columns import ColumnName
from ropewalk.contracts.plugins import PluginOptions

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task


class Options(PluginOptions):
    """Where the files are, what they are, and how they change."""

    path: str = Field(description="a folder in a root, data://published; each input has one in it")
    format: Literal["parquet", "csv", "arrow"] = "parquet"
    mode: Literal["append", "replace_partition", "replace"] = "replace_partition"
    by: list[ColumnName] = Field(
        default_factory=list, description="columns that become folders: origin=EWR/"
    )


def targets(options: Options, steps: Sequence[str]) -> dict[str, str]:
    """A folder for each."""
    return {step: f"{options.path.rstrip('/')}/{step}" for step in steps}


def write(options: Options, task: Task) -> None:
    """Write every input into its folder."""
    from ropewalk.store.files import publish

    publish(options, task)
