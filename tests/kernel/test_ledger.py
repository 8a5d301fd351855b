"""The ledger's statements where many tasks have ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from ropewalk.kernel import ledger
from ropewalk.kernel.migrations import migrate

from tests.conftest import Postgres

ENDED = 10_000
MANY = """
INSERT INTO task (key, workflow, step, run_id, requested, request, asker, state, attempt, report, ended_at)
SELECT md5(n::text) || md5((-n)::text), 'w', 's', 'run-' || n, n, '{}', '', 'succeeded', 1, report, now()
FROM generate_series(1, %s) AS n, (SELECT jsonb_build_object('why', repeat('x', 500)) AS report) AS one
"""
VALUES: dict[str, Any] = {
    "key": "0" * 64, "workflow": "w", "step": "s", "partition": None, "run": "run-7", "requested": 1, "request": "{}",
    "asker": "", "cursor": False, "channel": "c", "owner": "here", "lease": 10.0, "attempt": 1, "progress": None,
    "state": "succeeded", "report": None, "error": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def session(postgres: Postgres) -> Iterator[psycopg.Connection]:
    """A ledger with many finished tasks."""
    dsn = postgres.database().stage("store")
    migrate(dsn, "store")
    with psycopg.connect(
        dsn, autocommit=True, options="-c search_path=store", cursor_factory=psycopg.ClientCursor
    ) as one:
        one.execute(MANY, [ENDED])
        one.execute("ANALYZE task")
        yield one


@pytest.mark.parametrize(
    "name", ["SUBMIT", "AGAIN", "CLAIM", "RENEW", "END", "CANCEL", "BEFORE", "FORGET", "QUEUED"]
)
def test_no_statement_of_a_task_looks_at_all_that_have_ended(
    session: psycopg.Connection, name: str
) -> None:
    query = f"EXPLAIN (FORMAT JSON) {getattr(ledger, name)}"
    (plan,) = session.execute(query, VALUES).fetchone() or ()
    assert '"Seq Scan"' not in json.dumps(plan), json.dumps(plan, indent=1)


LOST = """
INSERT INTO task (key, workflow, step, run_id, requested, request, asker, state, attempt, owner, lease_until, queued_at)
SELECT n || repeat('f', 63), 'w', 's', 'lost', 1, '{}', '', 'running', 1, 'dead', now() - interval '1s', now()
FROM generate_series(1, 2) AS n
"""


def test_who_takes_a_lost_task_over_is_told_of_the_next(session: psycopg.Connection) -> None:
    """Else it would look for it only when it looks again, a third of a lease later."""
    session.execute(LOST)
    try:
        told = [session.execute(ledger.CLAIM, VALUES).fetchone() for _ in range(3)]
    finally:
        session.execute("DELETE FROM task WHERE run_id = 'lost'")
    assert [one and one[-1] for one in told] == [True, False, None]
