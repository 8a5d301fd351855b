"""DuckDB, locked down: no files but its own spill folder, no network, no extensions, bounded memory and threads.

DuckDB cannot tell a query from its own spilling: where there is a spill folder, a statement that gets here could write,
attach and read files in it, and nowhere else. What lets none through is before it: `process.sql` holds a user's SQL to
one SELECT over its inputs, `collect.where` a condition to one without a query in it.
"""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ropewalk.contracts.template import bind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import duckdb

    from ropewalk.contracts.models import Scalar
    from ropewalk.kernel.task import Task

SHARE = 0.7  # of a task's memory; the rest is for Arrow and the interpreter
OF_THE_DISK = 0.9  # of what is free when a query begins: the rest is for others
PLAN_MEMORY = 256 * 1024 * 1024

BOUND_TYPES = {"partition_start": "TIMESTAMPTZ", "partition_end": "TIMESTAMPTZ"}
"""Parameters that are instants: they are bound as texts, and compared as what they mean."""

BOUND = re.compile(rf"\$({'|'.join(BOUND_TYPES)})\b")


@contextmanager
def duck(task: Task) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection for one task; what spills goes to its scratch folder."""
    spill = task.scratch / "spill"
    spill.mkdir(exist_ok=True)
    settings = task.settings
    connection = _open(int(settings.memory_limit * SHARE), settings.threads, spill)
    room = min(settings.max_spill, int(shutil.disk_usage(spill).free * OF_THE_DISK))
    _lock(connection, room)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def duck_for_plans() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that only binds queries to empty tables."""
    connection = _open(PLAN_MEMORY, 1, None)
    _lock(connection, 0)
    try:
        yield connection
    finally:
        connection.close()


def bound(sql: str, values: Mapping[str, Scalar]) -> tuple[str, dict[str, Any]]:
    """SQL with each ``{{ … }}`` as a parameter, the partition's bounds as instants; and the parameters."""
    text, parameters = bind(sql, values)
    return BOUND.sub(lambda match: f"CAST({match[0]} AS {BOUND_TYPES[match[1]]})", text), parameters


def _open(memory: int, threads: int, spill: Path | None) -> duckdb.DuckDBPyConnection:
    import duckdb

    config: dict[str, Any] = {
        "memory_limit": f"{memory}B",
        "threads": threads,
        "temp_directory": str(spill or ""),
        "preserve_insertion_order": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "python_enable_replacements": "false",
    }
    return duckdb.connect(":memory:", config=config)


def _lock(connection: duckdb.DuckDBPyConnection, room: int) -> None:
    """Closes a connection's ways out; what it spills is bounded here, since DuckDB ignores that in its config."""
    connection.execute(
        f"SET TimeZone = 'UTC'; SET max_temp_directory_size = '{room}B';"
        " SET enable_external_access = false; SET lock_configuration = true"
    )
