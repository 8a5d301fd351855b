"""The plan of a process step, before anything runs: what is known of its inputs, and the query that it comes to."""

from __future__ import annotations

from pydantic import Field

from ropewalk.contracts.models import ColumnSource, Frozen, Scalar


class Given(Frozen):
    """What is known of an input's columns: DuckDB's types by name, None where only the data can tell one.

    It is ``whole`` where there can be no other column.
    """

    types: dict[str, str | None] = Field(default_factory=dict)
    whole: bool = True


class PlannedColumn(Frozen):
    """A column of the result: its type, None where it is known when it runs, and the columns that it is made of."""

    name: str
    type: str | None = None
    sources: list[ColumnSource] = Field(default_factory=list)


class PlannedCheck(Frozen):
    """A check, what it claims, and what happens where that does not hold."""

    check: str
    on_fail: str
    claim: str


class PlannedQuery(Frozen):
    """A query, and the parameters in it. What a ``function`` makes of its rows goes by ``name`` in the next one."""

    sql: str
    parameters: dict[str, Scalar] = Field(default_factory=dict)
    name: str | None = None
    function: str | None = None
    returns: dict[str, str] = Field(default_factory=dict)


class Plan(Frozen):
    """The queries of a step: one, and one more for each function that is called on the way.

    ``assumed`` are the inputs whose columns the queries list, and which may have more of them than are known;
    ``untold`` says why there is no query yet.
    """

    queries: list[PlannedQuery] = Field(default_factory=list)
    columns: list[PlannedColumn] = Field(default_factory=list)
    whole: bool = True
    checks: list[PlannedCheck] = Field(default_factory=list)
    assumed: list[str] = Field(default_factory=list)
    untold: str | None = None
