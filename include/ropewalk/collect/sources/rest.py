"""REST: pages of JSON from an API, with its paging, its keys, and its patience."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ropewalk.contracts.columns import Columns
from ropewalk.contracts.durations import Length
from ropewalk.contracts.plugins import PluginOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from ropewalk.kernel.task import Task


class Paginate(BaseModel):
    """How an API tells of its next page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    style: Literal["none", "link_header", "page", "offset", "cursor", "next_url"] = "none"
    param: str | None = Field(None, description="of page, offset, cursor: the query's parameter")
    size_param: str | None = Field(
        None, description="of page, offset: the parameter of a page's size"
    )
    size: int | None = Field(None, ge=1, description="how many records a page has")
    start: int | None = Field(
        None, description="of page: the first page's number, 1 where it is not given"
    )
    path: str | None = Field(
        None, description="of cursor, next_url: where it is in the answer: meta.next"
    )


class Auth(BaseModel):
    """How the API knows us; what is secret about it is in the connection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["none", "bearer", "basic", "api_key", "oauth2_client_credentials"] = "none"
    header: str = Field("X-Api-Key", description="of api_key: the header's name")
    token_url: str | None = Field(None, description="of oauth2_client_credentials")
    scope: str | None = None


class Cursor(BaseModel):
    """An incremental read: records after where the last committed one ended, each once.

    One whose value is the watermark's or less is not taken, whatever the server answers, unless it lies in the
    ``overlap`` and no run has taken it. A run that is cleared ends where the next one went on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str = Field(
        description="the field of a record that only rises: later records have a higher value"
    )
    param: str = Field(
        description="the query's parameter: from where on; the server may compare with > or >="
    )
    start: str | int | float | None = Field(
        None, description="from where on the first time, as the server compares it"
    )
    overlap: Length | None = Field(
        None,
        description="how far back records may come late: 2h, or a number; each is taken once, known by its text",
    )


class Options(PluginOptions):
    """What is asked, and where the records are in the answer."""

    connection: str = Field(description="the connection's name: its URL, and its secrets")
    path: str = "/"
    query: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    paginate: Paginate = Paginate()
    auth: Auth | None = Field(
        None, description="by what the connection holds, where it is not given"
    )
    records: str | None = Field(None, description="where the list of records is: data.items")
    columns: dict[str, str] = Field(
        default_factory=dict, description="the types of columns: {when: timestamp}"
    )
    select: list[str] | None = Field(
        None, description="the columns that are wanted; all, where it is not given"
    )
    partition_by: str | None = Field(
        None,
        description="the instant by which a row belongs to a partition: a batch is then read in one go",
    )
    cursor: Cursor | None = None
    timeout: float = Field(30, gt=0, description="seconds for an answer")
    attempts: int = Field(
        6, ge=1, le=50, description="how often a page is asked for before it fails"
    )
    max_pages: int = Field(100_000, ge=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> Options:
        if self.partition_by is not None and self.cursor is not None:
            raise ValueError(
                "a cursor goes past what is of another partition: give partition_by or cursor"
            )
        return self


def columns(options: Options, _: object) -> Columns:
    """Those of ``select``; without it, whatever the records have."""
    return tuple(options.select) if options.select is not None else None


def types(options: Options) -> dict[str, str]:
    """Those that are declared."""
    return options.columns


def read(options: Options, task: Task) -> pa.RecordBatchReader:
    """The records of all pages, in order."""
    from ropewalk.collect.rest import read_pages

    return read_pages(options, task)
