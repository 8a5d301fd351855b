"""PostgreSQL: tables that are there whole or not at all, each row once, however often the task runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ropewalk.contracts.columns import ColumnName
from ropewalk.contracts.plugins import PluginOptions

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task


class Options(PluginOptions):
    """Where the tables are, and how they change."""

    connection: str = Field("results", description="the connection's name: a PostgreSQL DSN")
    connections: dict[str, str] = Field(
        default_factory=dict,
        description="other databases for some steps, {step: connection}; all are written, or none is",
    )
    schema_: str = Field("public", alias="schema", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    mode: Literal["append", "replace_partition", "upsert", "replace"] = "replace_partition"
    tables: dict[str, str] = Field(
        default_factory=dict, description="other names than the steps': {step: table}"
    )
    key: list[ColumnName] = Field(
        default_factory=list, description="of upsert: the columns that tell rows apart"
    )
    columns: Literal["evolve", "freeze"] = Field(
        "evolve", description="whether new columns are added to a table, or refused"
    )

    @model_validator(mode="after")
    def _key_where_it_is_needed(self) -> Options:
        if (self.mode == "upsert") != bool(self.key):
            raise ValueError("mode upsert needs key, and no other mode has one")
        return self

    def database(self, step: str) -> str:
        """The connection that a step's rows go to."""
        return self.connections.get(step, self.connection)

    def table(self, step: str) -> str:
        """The name of its table."""
        return self.tables.get(step, step)


def inputs(options: Options) -> list[str]:
    """The steps that the options name."""
    return list(dict.fromkeys([*options.tables, *options.connections]))


def targets(options: Options, steps: Sequence[str]) -> dict[str, str]:
    """The tables, each under its connection's name."""
    return {
        step: f"postgres://{options.database(step)}/{options.schema_}.{options.table(step)}"
        for step in steps
    }


def probe(options: Options, steps: Sequence[str]) -> None:
    """ConfigError where the databases of these steps cannot be written together."""
    own = [step for step in steps if step in options.connections]
    named = {f"connections.{step}": options.connections[step] for step in own}
    if len(own) < len(steps):
        named = {"connection": options.connection, **named}
    if len({*named.values()}) > 1:
        from ropewalk.store.in_doubt import refuse_unable

        refuse_unable(named)


def write(options: Options, task: Task) -> None:
    """Publish every input as a table, all in one transaction."""
    from ropewalk.store.postgres import publish

    publish(options, task)
