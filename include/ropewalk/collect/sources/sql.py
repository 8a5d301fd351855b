"""SQL: what a query gives, streamed out of any database that SQLAlchemy knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ropewalk.contracts.plugins import PluginOptions
from ropewalk.contracts.template import SqlText

if TYPE_CHECKING:
    import pyarrow as pa

    from ropewalk.kernel.task import Task


class Cursor(BaseModel):
    """An incremental read: rows from where the last committed one ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = Field(description="a column of the query that only rises")
    start: str | int | float | None = Field(None, description="from where on the first time")


class Options(PluginOptions):
    """A query, or a table."""

    shorthand: ClassVar[str | None] = "query"

    connection: str = Field(description="the connection's name: a SQLAlchemy URL")
    query: SqlText | None = Field(None, description="one SELECT; {{ … }} are bound")
    table: str | None = Field(None, description="schema.table, instead of a query")
    columns: dict[str, str] = Field(
        default_factory=dict, description="other types than the database's"
    )
    cursor: Cursor | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Options:
        if (self.query is None) == (self.table is None):
            raise ValueError("give a query or a table")
        return self


def read(options: Options, task: Task) -> pa.RecordBatchReader:
    """The rows of the query."""
    from ropewalk.collect.sql import read_query

    return read_query(options, task)
