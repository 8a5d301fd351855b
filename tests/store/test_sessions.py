"""Sessions that tasks of a batch share: one after the other, and none after it has seen something go wrong."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from ropewalk.store.sessions import IDLE, kept, opened

from tests.conftest import Database


@pytest.fixture(autouse=True)
def connections(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two connections; what they lead to matters little."""
    for name in ("RESULTS", "OTHER"):
        monkeypatch.setenv(f"ROPEWALK_CONNECTION_{name}", database.stage("store"))


def pid(session: psycopg.Connection[Any]) -> int:
    return session.info.backend_pid


def named(session: psycopg.Connection[Any], number: int) -> str:
    """How the session of a backend is named, seen from another."""
    row = session.execute(
        "SELECT application_name FROM pg_stat_activity WHERE pid = %s", [number]
    ).fetchone()
    return row[0] if row else ""


def test_a_task_by_itself_has_a_session_of_its_own() -> None:
    with opened("results", "ropewalk:a:1") as one:
        pass
    assert one.closed


def test_tasks_share_one_by_connection_and_it_bears_the_name_of_each(database: Database) -> None:
    with psycopg.connect(database.stage("store"), autocommit=True) as other:
        with kept():
            with (
                opened("results", "ropewalk:a:1") as first,
                opened("other", "ropewalk:a:1") as apart,
            ):
                assert pid(first) != pid(apart)
                assert named(other, pid(first)) == "ropewalk:a:1"
            assert named(other, pid(first)) == IDLE, "no attempt's: nobody ends it"
            with (
                opened("results", "ropewalk:b:2") as second,
                opened("other", "ropewalk:b:2") as last,
            ):
                assert (pid(second), pid(last)) == (pid(first), pid(apart))
                assert named(other, pid(second)) == "ropewalk:b:2"
        assert first.closed
        assert apart.closed


def test_a_session_that_has_seen_an_error_is_not_used_again() -> None:
    with kept():
        with (
            pytest.raises(psycopg.errors.DivisionByZero),
            opened("results", "ropewalk:a:1") as first,
        ):
            first.execute("BEGIN; SELECT 1 / 0")
        assert first.closed
        with opened("results", "ropewalk:b:1") as second:
            assert second.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_one_that_was_ended_meanwhile_is_opened_anew(database: Database) -> None:
    with psycopg.connect(database.stage("store"), autocommit=True) as other, kept():
        with opened("results", "ropewalk:a:1") as first:
            ended = pid(first)
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [ended])
        with opened("results", "ropewalk:b:1") as second:
            assert second.execute("SELECT 1").fetchone() == (1,)
