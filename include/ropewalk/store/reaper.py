"""Ends the sessions of loads that no longer move: a client that is frozen inside COPY holds its locks for ever.

No timeout of the server's ends such a session: it is neither idle nor does a statement run too long, it reads. Any
session of the same role may end it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
from psycopg import errors as pg

from ropewalk.store import in_doubt, ledger
from ropewalk.store.in_doubt import Database
from ropewalk.store.ledger import Load

PATIENCE, WAITS = "5s", 6  # for another load's locks: so long, so many times
PAUSE = 0.8  # seconds between two tries at a change that locks readers out
FROZEN = 3  # looks at which not a byte more has come
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

Seen = dict[int, tuple[int, int]]
"""By the session's id: the bytes that have come, and at how many looks they were as many."""


def tag(key: str, attempt: int) -> str:
    """How the session of an attempt is named."""
    return f"ropewalk:{key[:12]}:{attempt}"


def end_older_attempts(connection: psycopg.Connection[Any], key: str, attempt: int) -> None:
    """End the sessions of earlier attempts at a task: they have lost it, wherever they stand."""
    names = tag(key, attempt).rpartition(":")[0] + ":%"
    found = connection.execute(SESSIONS, [names]).fetchall()
    for pid, name in found:
        if int(name.rpartition(":")[2]) < attempt:
            _end(connection, pid)


def lock(database: Database, loads: Iterable[Load]) -> None:
    """Keep others from the loads' parts of their tables; what is in the way, and frozen or in doubt, is ended."""
    ordered = sorted(loads, key=lambda one: (str(one.table), one.scope))
    _patiently(database, lambda: _lock(database.session, ordered))


def in_moments(database: Database, change: Callable[[], None], seconds: float) -> None:
    """Change what others read: tried for so long, about once a second, each time for a moment.

    ``change`` raises LockNotAvailable where it was not let; what is in the way, and frozen or in doubt, is ended.
    """
    tries = max(1, round(seconds / WAITS))
    _patiently(database, lambda: _in_moments(change, tries))


def _patiently(database: Database, work: Callable[[], None]) -> None:
    """Do what may have to wait for locks, `WAITS` times; in between, what is frozen or in doubt is ended."""
    seen = Seen()
    for _ in range(WAITS - 1):
        try:
            work()
        except pg.LockNotAvailable:
            seen = _end_frozen(database.session, seen)
            in_doubt.settle(database.name)
        else:
            return
    work()


def _in_moments(change: Callable[[], None], tries: int) -> None:
    for _ in range(tries - 1):
        try:
            change()
        except pg.LockNotAvailable:
            time.sleep(PAUSE)
        else:
            return
    change()


def _lock(connection: psycopg.Connection[Any], loads: list[Load]) -> None:
    """Take all locks or, within `PATIENCE`, none."""
    with connection.transaction():
        before = connection.execute("SELECT current_setting('lock_timeout')").fetchone()
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [PATIENCE])
        for load in loads:
            ledger.lock(connection, load)
        connection.execute("SELECT set_config('lock_timeout', %s, true)", before)


def _end_frozen(connection: psycopg.Connection[Any], seen: Seen) -> Seen:
    """End what has not moved at several looks; what is seen now."""
    connection.execute("SELECT pg_stat_clear_snapshot()")
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
