"""SQL: what a query gives, streamed out of any database that SQLAlchemy knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ropewalk.contracts.columns import Columns, fold, unknown_column
from ropewalk.contracts.durations import Length
from ropewalk.contracts.plugins import PluginOptions
from ropewalk.contracts.template import REFERENCE, SqlText

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

    from ropewalk.kernel.task import Task


class Cursor(BaseModel):
    """An incremental read: rows from where the last committed one ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = Field(description="a column of the query that only rises")
    start: str | int | float | None = Field(None, description="from where on the first time")
    overlap: Length | None = Field(
        None,
        description="how far back rows may come late: 2h, or a number; each is taken once",
    )


class Options(PluginOptions):
    """A query, or a table."""

    shorthand: ClassVar[str | None] = "query"

    connection: str = Field(description="the connection's name: a SQLAlchemy URL")
    query: SqlText | None = Field(None, description="one SELECT; {{ … }} are bound")
    table: str | None = Field(None, description="schema.table, instead of a query")
    columns: dict[str, str] = Field(
        default_factory=dict, description="other types than the database's"
    )
    partition_by: str | None = Field(
        None,
        description="the instant by which a row belongs to a partition: a batch is then read in one go",
    )
    cursor: Cursor | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Options:
        if (self.query is None) == (self.table is None):
            raise ValueError("give a query or a table")
        if self.partition_by is not None and self.cursor is not None:
            raise ValueError(
                "a cursor goes past what is of another partition: give partition_by or cursor"
            )
        return self


def columns(options: Options, _: object) -> Columns:
    """Those that the query names; ConfigError where the other options name one that it does not."""
    found = given(options.query) if options.query is not None else None
    wanted = {f"columns.{name}": name for name in options.columns}
    if options.cursor is not None:
        wanted["cursor.column"] = options.cursor.column
    for field, name in wanted.items() if found is not None else ():
        if fold(name) not in {fold(one) for one in found or ()}:
            raise unknown_column(name, found or (), "the query", field=field)
    return found


def types(options: Options) -> dict[str, str]:
    """Those that are declared."""
    return options.columns


def given(query: str) -> Columns:
    """The columns that a query of any dialect names, each by itself; None where that cannot be told."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        found = sqlglot.parse_one(REFERENCE.sub("NULL", query))
    except SqlglotError:
        return None
    if not isinstance(found, exp.Query) or not all(map(_is_named, found.selects)):
        return None
    return tuple(found.named_selects) or None


def _is_named(item: exp.Expr) -> bool:
    from sqlglot import exp

    return isinstance(item, exp.Alias) or (isinstance(item, exp.Column) and not item.is_star)


def read(options: Options, task: Task) -> pa.RecordBatchReader:
    """The rows of the query."""
    from ropewalk.collect.sql import read_query

    return read_query(options, task)
