"""Ends the sessions of loads that no longer move: a client that is frozen inside COPY holds its locks for ever.

No timeout of the server's ends such a session: it is neither idle nor does a statement run too long, it reads. Any
session of the same role may end it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeVar

import psycopg
from psycopg import errors as pg

from ropewalk.store import in_doubt, ledger
from ropewalk.store.in_doubt import Database
from ropewalk.store.ledger import Found, Load
from ropewalk.store.sessions import Statement, together

PATIENCE, WAITS = "5s", 6  # for another load's locks: so long, so many times
PAUSE = 0.8  # seconds between two tries at a change that locks readers out
FROZEN = 3  # looks at which not a byte more has come
WAIT = "SELECT set_config('lock_timeout', %s, %s)"
# Who has waited for a lock sees what was committed meanwhile.
FRESH: Statement = ("SET default_transaction_isolation TO 'read committed'", [])
SESSIONS = """
SELECT pid, application_name FROM pg_stat_activity
WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()
    AND application_name LIKE %s
"""
COPIES = """
SELECT pid, bytes_processed FROM pg_stat_activity JOIN pg_stat_progress_copy USING (pid, datname)
WHERE usename = current_user AND datname = current_database() AND application_name LIKE %s
    AND wait_event = 'ClientRead'
"""

Answer = TypeVar("Answer")
Seen = dict[int, tuple[int, int]]
"""By the session's id: the bytes that have come, and at how many looks they were as many."""


def tag(key: str, attempt: int) -> str:
    """How the session of an attempt is named."""
    return f"ropewalk:{key[:12]}:{attempt}"


def take_over(
    connection: psycopg.Connection[Any],
    key: str,
    attempt: int,
    lock_seconds: float,
    *looks: Statement,
) -> list[list[tuple[Any, ...]]]:
    """End the sessions of earlier attempts at a task: they have lost it, wherever they stand.

    The task's own waits for each lock for so many seconds. Returns the rows of each of ``looks``, which are asked for
    with the rest.
    """
    names = tag(key, attempt).rpartition(":")[0] + ":%"
    waits = f"{round(1000 * lock_seconds)}ms"
    _, _, found, *seen = together(
        connection, FRESH, (WAIT, [waits, False]), (SESSIONS, [names]), *looks
    )
    for pid, name in found:
        if int(name.rpartition(":")[2]) < attempt:
            _end(connection, pid)
    return seen


def begin(
    database: Database, loads: Sequence[Load], first: Statement, lock_seconds: float
) -> list[Found]:
    """Begin a transaction that keeps others from the loads' parts of their tables; what the ledger knows of each load.

    ``first`` comes before all else in it. What is in the way, and frozen or in doubt, is ended.
    """
    ordered = sorted(loads, key=lambda one: (str(one.table), one.scope))
    statements = [
        ("BEGIN", []), first, (WAIT, [PATIENCE, True]), *chain.from_iterable(map(ledger.locks, ordered)),
        (WAIT, [f"{round(1000 * lock_seconds)}ms", True]), *map(ledger.look, loads),
    ]  # fmt: skip
    found = _patiently(database, lambda: _begin(database.session, statements))
    return [Found(*row) for (row,) in found[len(found) - len(loads) :]]


def in_moments(database: Database, change: Callable[[], None], seconds: float) -> None:
    """Change what others read: tried for so long, about once a second, each time for a moment.

    ``change`` raises LockNotAvailable where it was not let; what is in the way, and frozen or in doubt, is ended.
    """
    tries = max(1, round(seconds / WAITS))
    _patiently(database, lambda: _in_moments(change, tries))


def _patiently(database: Database, work: Callable[[], Answer]) -> Answer:
    """Do what may have to wait for locks, `WAITS` times; in between, what is frozen or in doubt is ended."""
    seen = Seen()
    for _ in range(WAITS - 1):
        try:
            return work()
        except pg.LockNotAvailable:
            seen = _end_frozen(database.session, seen)
            in_doubt.settle(database.name)
    return work()


def _in_moments(change: Callable[[], None], tries: int) -> None:
    for _ in range(tries - 1):
        try:
            change()
        except pg.LockNotAvailable:
            time.sleep(PAUSE)
        else:
            return
    change()


def _begin(
    connection: psycopg.Connection[Any], statements: Sequence[Statement]
) -> list[list[tuple[Any, ...]]]:
    """Take all locks or, within `PATIENCE`, none: then there is no transaction."""
    try:
        return together(connection, *statements)
    except pg.LockNotAvailable:
        connection.execute("ROLLBACK")
        raise


def _end_frozen(connection: psycopg.Connection[Any], seen: Seen) -> Seen:
    """End what has not moved at several looks; what is seen now."""
    found = connection.execute(COPIES, ["ropewalk:%"]).fetchall()
    now = {pid: (size, 1 + _times(seen.get(pid), size)) for pid, size in found}
    for pid, (_, times) in now.items():
        if times >= FROZEN:
            _end(connection, pid)
    return now


def _end(connection: psycopg.Connection[Any], pid: int) -> None:
    connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def _times(before: tuple[int, int] | None, size: int) -> int:
    return before[1] if before is not None and before[0] == size else 0
