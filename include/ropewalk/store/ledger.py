"""The ledger of loads, in the database of the tables: which task wrote what, so that nothing is written twice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from ropewalk.store.columns import Table
from ropewalk.store.sessions import Statement

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
THERE: Statement = ("SELECT to_regclass('ropewalk.load') IS NOT NULL", [])
LOOK = """
SELECT mine.state, coalesce(mine.rows, 0),
    EXISTS (SELECT FROM ropewalk.load WHERE target = %(target)s AND scope IN (%(scope)s, '')
        AND requested > %(requested)s AND state <> 'superseded'
        AND NOT (mode = 'upsert' AND %(mode)s IN ('upsert', 'replace'))),
    %(mode)s <> 'upsert' AND EXISTS (SELECT FROM ropewalk.load WHERE target = %(target)s AND scope = %(scope)s
        AND content = %(content)s AND state = 'current')
    AND NOT (%(mode)s = 'replace' AND EXISTS (SELECT FROM ropewalk.load WHERE target = %(target)s
        AND content <> %(content)s AND state = 'current')),
    %(mode)s IN ('upsert', 'replace') AND EXISTS (SELECT FROM ropewalk.load WHERE target = %(target)s
        AND requested > %(requested)s AND state <> 'superseded'),
    EXISTS (SELECT FROM ropewalk.load WHERE target = %(target)s AND scope = %(scope)s
        AND task <> %(task)s AND state <> 'superseded')
FROM (SELECT) AS one LEFT JOIN ropewalk.load AS mine ON mine.task = %(task)s AND mine.target = %(target)s
"""
ENTRY = """
WITH replaced AS (
    UPDATE ropewalk.load SET state = 'replaced'
    WHERE %(state)s = 'current' AND target = %(target)s AND state = 'current' AND requested <= %(requested)s
        AND (%(mode)s IN ('replace', 'upsert') OR scope IN (%(scope)s, ''))
)
INSERT INTO ropewalk.load (target, scope, task, content, mode, rows, requested, run, state)
VALUES (%(target)s, %(scope)s, %(task)s, %(content)s, %(mode)s, %(rows)s, %(requested)s, %(run)s, %(state)s)
RETURNING id
"""


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


def create(connection: psycopg.Connection[Any]) -> None:
    """Make the ledger's table, unless another has just made it."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('ropewalk.load', 1))")
        connection.execute(TABLES)


def locks(load: Load) -> list[Statement]:
    """What keeps others from the load's part of the table until the transaction ends."""
    whole = load.scope == EVERYTHING or load.mode == "upsert"
    shared = "" if whole else "_shared"
    found: list[Statement] = [
        (
            f"SELECT pg_advisory_xact_lock{shared}(hashtextextended(%s, 2))",
            [str(load.table)],
        )
    ]
    if not whole:
        part = f"{load.table} {load.scope}"
        found.append(("SELECT pg_advisory_xact_lock(hashtextextended(%s, 3))", [part]))
    return found


@dataclass(frozen=True)
class Found:
    """What the ledger knows of a load, and of its part of the table.

    ``state`` and ``rows`` are the load's own, where it is there; ``later``: a later request won; ``same``: the part
    is as the load would make it; ``overtaken``: a later request has written to the table, where rows of both can
    meet; ``written``: an earlier load may have left rows.
    """

    state: str | None
    rows: int
    later: bool
    same: bool
    overtaken: bool
    written: bool


def look(load: Load) -> Statement:
    """Asks for what makes a `Found`.

    A later upsert wins over no upsert and no replace: of each row the later request's wins. A `replace` is the same
    only where there are no others' rows.
    """
    return LOOK, _values(load)


def verdict(found: Found) -> str:
    """``apply``; or ``replayed`` where the load is there already, ``superseded``, ``unchanged``."""
    if found.state is not None:
        return "superseded" if found.state == "superseded" else "replayed"
    if found.later:
        return "superseded"
    return "unchanged" if found.same else "apply"


def entry(load: Load, state: str) -> Statement:
    """Enters the load; what it replaces is current no more. Its row is the number that the load's rows carry."""
    return ENTRY, {**_values(load), "rows": load.rows, "run": load.run, "state": state}


def count(connection: psycopg.Connection[Any], number: int, rows: int) -> None:
    """Say how many of a load's rows were written, where later requests have some of them."""
    connection.execute("UPDATE ropewalk.load SET rows = %s WHERE id = %s", [rows, number])


def renew(connection: psycopg.Connection[Any], load: Load) -> None:
    """The same content was asked for again: it is what the later request wants."""
    connection.execute(
        "UPDATE ropewalk.load SET requested = %s WHERE target = %s AND scope = %s AND state = 'current'",
        [load.requested, str(load.table), load.scope],
    )


def _values(load: Load) -> dict[str, Any]:
    return {
        "target": str(load.table), "scope": load.scope, "task": load.task, "content": load.content,
        "mode": load.mode, "requested": load.requested,
    }  # fmt: skip
