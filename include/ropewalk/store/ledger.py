"""The ledger of loads, in the database of the tables: which task wrote what, so that nothing is written twice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from ropewalk.store.columns import Table

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task

TABLES = """
CREATE SCHEMA IF NOT EXISTS ropewalk;
CREATE TABLE IF NOT EXISTS ropewalk.load (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target text NOT NULL,
    scope text NOT NULL,
    task text NOT NULL,
    content text NOT NULL,
    mode text NOT NULL,
    rows bigint NOT NULL,
    requested bigint NOT NULL,
    run text NOT NULL,
    state text NOT NULL CHECK (state IN ('current', 'replaced', 'superseded')),
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (task, target)
);
CREATE INDEX IF NOT EXISTS load_scope ON ropewalk.load (target, scope, requested DESC);
"""
EVERYTHING = ""  # the scope of a load that is of the whole table


@dataclass(frozen=True)
class Load:
    """One table of one task: ``scope`` is the part of the table that the load is responsible for."""

    table: Table
    scope: str
    mode: str
    task: str
    content: str
    rows: int
    requested: int
    run: str


def load_of(table: Table, mode: str, key: list[str], step: str, task: Task) -> Load:
    """What a task is about to load from a step into a table."""
    request, ref = task.request, task.request.inputs[step]
    partition = request.partition.name if request.partition else None
    scope = {
        "replace": EVERYTHING,
        "replace_partition": partition or EVERYTHING,
        "upsert": partition or EVERYTHING,
        "append": f"{request.workflow}.{request.step}/{partition or request.run.id}",
    }[mode]
    content = hashlib.sha256(
        repr((str(table), scope, mode, key, ref.fingerprint)).encode()
    ).hexdigest()
    return Load(
        table, scope, mode, task.key, content, ref.rows, request.run.requested, request.run.id
    )


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Have the ledger's table."""
    found = connection.execute("SELECT to_regclass('ropewalk.load') IS NOT NULL").fetchone()
    if found == (True,):
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('ropewalk.load', 1))")
        connection.execute(TABLES)


def lock(connection: psycopg.Connection[Any], load: Load) -> None:
    """Keep others from the load's part of the table until this transaction ends."""
    whole = load.scope == EVERYTHING or load.mode == "upsert"
    shared = "" if whole else "_shared"
    connection.execute(
        f"SELECT pg_advisory_xact_lock{shared}(hashtextextended(%s, 2))",
        [str(load.table)],
    )
    if not whole:
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 3))", [f"{load.table} {load.scope}"]
        )


def verdict(connection: psycopg.Connection[Any], load: Load) -> str:
    """``apply``; or ``replayed`` where the load is there already, ``superseded`` where a later request won.

    A later upsert supersedes no upsert and no replace: of each row the later request's wins.
    """
    done = connection.execute(
        "SELECT state FROM ropewalk.load WHERE task = %s AND target = %s",
        [load.task, str(load.table)],
    ).fetchone()
    if done is not None:
        return "superseded" if done[0] == "superseded" else "replayed"
    later = connection.execute(
        "SELECT max(requested) > %s FROM ropewalk.load WHERE target = %s AND scope IN (%s, %s)"
        " AND state <> 'superseded' AND NOT (mode = 'upsert' AND %s IN ('upsert', 'replace'))",
        [load.requested, str(load.table), load.scope, EVERYTHING, load.mode],
    ).fetchone()
    if later == (True,):
        return "superseded"
    return "unchanged" if load.mode != "upsert" and _holds(connection, load) else "apply"


def _holds(connection: psycopg.Connection[Any], load: Load) -> bool:
    """Whether the load's part of the table is as it would make it: its rows, and in a `replace` no others."""
    same = connection.execute(
        "SELECT 1 FROM ropewalk.load WHERE target = %s AND scope = %s AND content = %s AND state = 'current'",
        [str(load.table), load.scope, load.content],
    ).fetchone()
    if same is None or load.mode != "replace":
        return same is not None
    others = connection.execute(
        "SELECT 1 FROM ropewalk.load WHERE target = %s AND content <> %s AND state = 'current' LIMIT 1",
        [str(load.table), load.content],
    ).fetchone()
    return others is None


def record(connection: psycopg.Connection[Any], load: Load, state: str) -> int:
    """Enter the load; what it replaces is current no more. The number that its rows carry."""
    target = str(load.table)
    if state == "current":
        everything = load.mode in {"replace", "upsert"}
        connection.execute(
            "UPDATE ropewalk.load SET state = 'replaced' WHERE target = %s AND state = 'current'"
            " AND (%s OR scope IN (%s, %s)) AND requested <= %s",
            [target, everything, load.scope, EVERYTHING, load.requested],
        )
    row = connection.execute(
        "INSERT INTO ropewalk.load (target, scope, task, content, mode, rows, requested, run, state)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        [
            target,
            load.scope,
            load.task,
            load.content,
            load.mode,
            load.rows,
            load.requested,
            load.run,
            state,
        ],
    ).fetchone()
    return int(row[0]) if row else 0


def count(connection: psycopg.Connection[Any], number: int, rows: int) -> None:
    """Say how many of a load's rows were written, where later requests have some of them."""
    connection.execute("UPDATE ropewalk.load SET rows = %s WHERE id = %s", [rows, number])


def counted(connection: psycopg.Connection[Any], load: Load) -> int:
    """How many rows a load that is there has written."""
    row = connection.execute(
        "SELECT rows FROM ropewalk.load WHERE task = %s AND target = %s",
        [load.task, str(load.table)],
    ).fetchone()
    return int(row[0]) if row else 0


def overtaken(connection: psycopg.Connection[Any], load: Load) -> bool:
    """Whether a later request has written to any part of the table."""
    row = connection.execute(
        "SELECT max(requested) > %s FROM ropewalk.load WHERE target = %s AND state <> 'superseded'",
        [load.requested, str(load.table)],
    ).fetchone()
    return row == (True,)


def written(connection: psycopg.Connection[Any], load: Load) -> bool:
    """Whether an earlier load may have left rows in the load's part of the table."""
    row = connection.execute(
        "SELECT 1 FROM ropewalk.load WHERE target = %s AND scope = %s AND task <> %s AND state <> 'superseded' LIMIT 1",
        [str(load.table), load.scope, load.task],
    ).fetchone()
    return row is not None


def renew(connection: psycopg.Connection[Any], load: Load) -> None:
    """The same content was asked for again: it is what the later request wants."""
    connection.execute(
        "UPDATE ropewalk.load SET requested = %s WHERE target = %s AND scope = %s AND state = 'current'",
        [load.requested, str(load.table), load.scope],
    )
