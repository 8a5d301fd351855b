"""How long a source's PostgreSQL may keep a task waiting: for a lock, for the next rows, for a server that has gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ropewalk.contracts.errors import RetryableError

if TYPE_CHECKING:
    from ropewalk.kernel.settings import Settings

# A server that has vanished without a word is given up after half a minute.
LIVELY: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
LOCKED, ENDED = "55P03", "57014"  # SQLSTATE


def for_lock(settings: Settings) -> str:
    """The statement after which a transaction waits for no lock longer than it may."""
    return _bound("lock_timeout", settings.lock_seconds)


def for_rows(settings: Settings) -> str:
    """The statement after which no other takes longer than it may.

    Of a cursor each fetch is one: what makes progress is not ended, however long it takes in all.
    """
    return _bound("statement_timeout", settings.query_seconds)


def _bound(name: str, seconds: float) -> str:
    """A limit that the role, the database or the URL has already is left as it is."""
    value = f"{round(1000 * seconds)}ms"
    return f"SELECT set_config(name, '{value}', true) FROM pg_settings WHERE name = '{name}' AND setting = '0'"  # noqa: S608 - our own


def waited(connection: str, state: str | None, said: str) -> RetryableError | None:
    """What is told of a query that has waited too long; None where something else is the matter."""
    if state == LOCKED:
        return RetryableError(
            f"another transaction holds a lock in the database of {connection!r}: {said}",
            code="locked",
            hint="raise ROPEWALK_LOCK_SECONDS of this stage, if it may be held for so long",
        )
    if state == ENDED:
        return RetryableError(
            f"the database of {connection!r} has ended the query: {said}",
            code="query_timeout",
            hint="raise ROPEWALK_QUERY_SECONDS of this stage, if its next rows may take so long",
        )
    return None
