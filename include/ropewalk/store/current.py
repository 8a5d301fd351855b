"""Which tasks' rows the published tables hold now."""

from __future__ import annotations

from contextlib import closing

import psycopg

from ropewalk.contracts.errors import RetryableError
from ropewalk.store import sessions

# A load's rows are in the table until a later one sweeps them away: a `replace` all of it, others but `upsert` their
# part of it. Its state does not tell: an upsert calls everything before it replaced, and sweeps nothing away.
LOADS = """
SELECT DISTINCT task FROM (
    SELECT task, state, requested,
        max(requested) FILTER (WHERE mode = 'replace') OVER after_it AS whole,
        max(requested) FILTER (WHERE mode <> 'upsert') OVER (
            PARTITION BY target, scope ORDER BY id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS part
    FROM ropewalk.load WHERE state <> 'superseded'
    WINDOW after_it AS (
        PARTITION BY target ORDER BY id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
) AS one
WHERE state = 'current' OR coalesce(greatest(whole, part) < requested, true)
"""


def current() -> set[str]:
    """The keys of tasks whose rows are in a table of one of the stage's databases."""
    return {key for name in sessions.names() for key in _loads(name)}


def _loads(name: str) -> list[str]:
    """RetryableError where the database cannot say: then nothing may be taken for unused."""
    try:
        with closing(sessions.connect(name, "ropewalk:garbage")) as database:
            made = database.execute("SELECT to_regclass('ropewalk.load') IS NOT NULL").fetchone()
            return [key for (key,) in database.execute(LOADS)] if made == (True,) else []
    except psycopg.Error as error:
        raise RetryableError(
            f"the database of {name!r} does not say what it holds ({type(error).__name__})",
            code="database_away",
        ) from None
