"""DuckDB, locked down: no files but its own spill folder, no network, no extensions, bounded memory and threads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from ropewalk.kernel.task import Task

SHARE = 0.7  # of a task's memory; the rest is for Arrow and the interpreter


@contextmanager
def duck(task: Task) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection for one task; what spills goes to its scratch folder."""
    connection = _open(task)
    try:
        yield connection
    finally:
        connection.close()


def _open(task: Task) -> duckdb.DuckDBPyConnection:
    import duckdb

    spill = task.scratch / "spill"
    spill.mkdir(exist_ok=True)
    config: dict[str, Any] = {
        "memory_limit": f"{int(task.settings.memory_limit * SHARE)}B",
        "threads": task.settings.threads,
        "temp_directory": str(spill),
        "preserve_insertion_order": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "python_enable_replacements": "false",
    }
    connection = duckdb.connect(":memory:", config=config)
    connection.execute(
        "SET TimeZone = 'UTC'; SET enable_external_access = false; SET lock_configuration = true"
    )
    return connection
