"""The ledger's statements where many tasks have ended."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from ropewalk.contracts.errors import Problem
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import Partition, Report, RunInfo, TaskRequest, Use
from ropewalk.kernel import ledger
from ropewalk.kernel.ledger import Ledger, window_of
from ropewalk.kernel.migrations import migrate

from tests.conftest import Postgres

ENDED = 10_000
MANY = """
INSERT INTO task
    (key, workflow, step, run_id, requested, request, asker, state, attempt, report, ended_at, read, read_at)
SELECT md5(n::text) || md5((-n)::text), 'w', 's', 'run-' || n, n, '{}', '', 'succeeded', 1, report, now(),
    CASE WHEN mod(n, 10) = 0 THEN jsonb_build_object('watermark', n, 'until', nullif(mod(n, 3), 0)) END,
    CASE WHEN mod(n, 10) = 0 THEN now() END
FROM generate_series(1, %s) AS n, (SELECT jsonb_build_object('why', repeat('x', 500)) AS report) AS one
"""
VALUES: dict[str, Any] = {
    "key": "0" * 64, "workflow": "w", "step": "s", "partition": None, "run": "run-7", "requested": 1, "request": "{}",
    "asker": "", "cursor": False, "channel": "c", "owner": "here", "lease": 10.0, "attempt": 1, "progress": None,
    "state": "succeeded", "report": None, "error": None, "moved": True,
    "at": [], "level": [], "text": [],
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
    "name", ["SUBMIT", "AGAIN", "CLAIM", "RENEW", "END", "CANCEL", "FORGET", "QUEUED"]
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


class Reader:
    """A step that reads on by its cursor."""

    def __init__(self, dsn: str, loop: asyncio.Runner) -> None:
        self.loop, self.ledger = loop, Ledger.at(dsn, "store")
        loop.run(self.ledger.pool.open())

    def request(self, run: str, day: int, generation: str = "") -> TaskRequest:
        """What a run asks for, of a day."""
        begin = dt.datetime(2013, 1, day, tzinfo=dt.UTC)
        return TaskRequest(
            workflow="w", step="s", stage="store", do=[Use(plugin="p", options={"cursor": "n"})], run=RunInfo(id=run),
            partition=Partition(start=begin, end=begin + dt.timedelta(days=1), name=f"2013-01-{day:02}"),
            generation=generation,
        )  # fmt: skip

    def read(self, request: TaskRequest, to: int | None) -> tuple[Any, Any]:
        """Read up to there, or fail: from where on it was to be, and up to where."""
        key = task_key(request)
        self.loop.run(self.ledger.submit(key, request))
        row = self.loop.run(self.ledger.claim("here", 10))
        assert row is not None
        assert row["key"] == key
        now = dt.datetime.now(dt.UTC)
        report = Report(
            key=key, workflow="w", step="s", stage="store", plugins=[], run=request.run.id, watermark=to,
            started=now, ended=now, **window_of(row),
        )  # fmt: skip
        outcome = Problem(detail="it fails") if to is None else report
        self.loop.run(self.ledger.end(key, row["attempt"], outcome))
        return row["since"], row["until"]

    def forget(self, request: TaskRequest) -> None:
        """What it made is no longer there."""
        self.loop.run(self.ledger.forget(task_key(request)))


@pytest.fixture
def reader(postgres: Postgres) -> Iterator[Reader]:
    """A step whose first three days have been read."""
    dsn = postgres.database().stage("store")
    migrate(dsn, "store")
    with asyncio.Runner() as loop:
        one = Reader(dsn, loop)
        windows = [one.read(one.request(f"run-{day}", day), day * 10) for day in (1, 2, 3)]
        assert windows == [(None, None), (10, None), (20, None)]
        yield one
        loop.run(one.ledger.pool.close())


@pytest.mark.parametrize("run", ["run-2", "a backfill"])
def test_what_was_collected_is_read_again_and_nothing_else(reader: Reader, run: str) -> None:
    again = reader.request(run, 2)
    for _ in range(2):
        reader.forget(again)
        assert reader.read(again, None) == (10, 20)  # it fails, which makes nothing unknown
        assert reader.read(again, 19) == (10, 20)
    assert reader.read(reader.request("run-4", 4), 40) == (30, None)


def test_the_last_one_collected_is_still_what_the_next_reads_on_from(reader: Reader) -> None:
    reader.forget(reader.request("run-3", 3))
    assert reader.read(reader.request("run-4", 4), 40) == (30, None)
    assert reader.read(reader.request("run-3", 3), 30) == (20, 30)
    assert reader.read(reader.request("run-5", 5), 50) == (40, None)


def test_a_clock_that_jumps_back_has_no_rows_read_again(reader: Reader) -> None:
    later = "UPDATE task SET ended_at = ended_at + interval '1h', read_at = read_at + interval '1h' RETURNING key"
    reader.loop.run(reader.ledger.rows(later, {}))
    windows = [reader.read(reader.request(f"run-{day}", day), day * 10) for day in (4, 5)]
    assert windows == [(30, None), (40, None)]
