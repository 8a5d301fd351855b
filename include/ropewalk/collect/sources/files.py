"""Files: CSV, JSON, Parquet, Arrow and Excel, in folders and buckets, plain or packed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ropewalk.contracts.columns import Columns
from ropewalk.contracts.plugins import PluginOptions
from ropewalk.contracts.template import SqlCondition

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from ropewalk.kernel.task import Task


class Options(PluginOptions):
    """Which files, how they are written, and what is wanted of them."""

    shorthand: ClassVar[str | None] = "path"

    path: str | list[str] = Field(description="root://path or a glob: data://flights/*.csv")
    format: Literal["csv", "jsonl", "json", "parquet", "arrow", "excel"] | None = Field(
        None, description="by the name's ending, where it is not given"
    )
    compression: Literal["none", "gzip", "zip", "zstd"] | None = Field(
        None, description="by the name's ending, where it is not given"
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="the types of columns: {when: timestamp}"
    )
    select: list[str] | None = Field(
        None, description="the columns that are wanted; all, where it is not given"
    )
    where: SqlCondition | None = Field(None, description="which rows are wanted, in SQL")
    delimiter: str = Field(",", min_length=1, max_length=1)
    header: bool = True
    nulls: list[str] = Field(default=[""], description="texts that mean null, in CSV")
    encoding: str = "utf-8"
    multiline: bool = Field(
        default=False, description="whether values in quotes may have line ends"
    )
    records: str | None = Field(
        None, description="where the list of records is in a JSON document: data.items"
    )
    sheet: str | None = Field(
        None, description="the sheet of an Excel file; the first, where it is not given"
    )
    missing: Literal["error", "empty"] = Field("error", description="what no file at all means")


def columns(options: Options, _: object) -> Columns:
    """Those of ``select``; without it, whatever the files have."""
    return tuple(options.select) if options.select is not None else None


def types(options: Options) -> dict[str, str]:
    """Those that are declared."""
    return options.columns


def read(options: Options, task: Task) -> pa.RecordBatchReader:
    """The rows of all files, one after the other."""
    from ropewalk.collect.files import read_files

    return pick(options, read_files(options, task), task)


def shared(options: Options) -> Options:
    """The read that partitions may share: of all rows of the files."""
    return options.model_copy(update={"where": None})


def pick(
    options: Options,
    rows: pa.RecordBatchReader | pa.Table,
    task: Task,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> pa.RecordBatchReader:
    """The rows of a read that are wanted."""
    from ropewalk.collect.where import where

    if options.where is not None:
        return where(rows, options.where, task, connection)
    return rows.to_reader() if hasattr(rows, "to_reader") else rows
