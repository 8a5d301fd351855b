"""One load in two databases: both tables are new, or both are as they were, whatever dies in between."""

from __future__ import annotations

import contextlib
import decimal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from ropewalk.contracts.errors import ConfigError, DataError, FatalError, RetryableError
from ropewalk.contracts.models import Report, TaskRequest
from ropewalk.local.databases import LOGINS, Databases
from ropewalk.local.postgres import throwaway
from ropewalk.store import in_doubt, reaper
from ropewalk.store import postgres as sink
from ropewalk.store.current import current
from ropewalk.store.in_doubt import Database
from ropewalk.store.ledger import Found, Load
from ropewalk.testing.bench import TaskBench
from ropewalk.testing.sinks import day, numbers, table

from tests.conftest import Postgres

CRASHES = ("sink.prepared", "sink.fenced", "sink.decided")
STEPS = ("here", "there")  # a table in each database
MODES = ("replace_partition", "append", "replace", "upsert")


class Killed(BaseException):
    """What a process does that is killed: nothing more."""


class Two:
    """Two databases, and a step that publishes into both."""

    def __init__(self, bench: TaskBench, dsns: dict[str, str]) -> None:
        self.bench, self.dsns = bench, dsns

    def request(
        self, *values: int, mode: str = "replace", requested: int = 1, **more: Any
    ) -> TaskRequest:
        """Numbers for both tables."""
        options = {"schema": "out", "mode": mode, "connections": {"there": "warehouse"}, **more}
        if mode == "upsert":
            options["key"] = ["n"]
        data = more.pop("data", None) or table(numbers(*values))
        options.pop("data", None)
        return self.bench.request(
            "store",
            [("postgres", options)],
            inputs=dict.fromkeys(STEPS, data),
            partition=day(1),
            requested=requested,
        )

    def load(self, *values: int, **more: Any) -> Report:
        """Publish numbers into both."""
        return self.bench.perform(self.request(*values, **more))

    def rows(self) -> tuple[list[Any], ...]:
        """What a reader finds in each."""
        return tuple(
            sorted(n for (n,) in self.query(name, f"SELECT n FROM out.{step}"))
            for name, step in zip(("results", "warehouse"), STEPS, strict=True)
        )

    def query(self, name: str, text: str) -> list[tuple[Any, ...]]:
        """Rows of a database."""
        with psycopg.connect(self.dsns[name]) as session:
            cursor = session.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def prepared(self) -> list[str]:
        """What is in doubt."""
        return [gid for (gid,) in self.query("results", "SELECT gid FROM pg_prepared_xacts")]


@pytest.fixture
def two(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Two:
    """Two databases of one server."""
    found = {name: postgres.database().stage("store") for name in ("results", "warehouse")}
    for name, dsn in found.items():
        monkeypatch.setenv(f"ROPEWALK_CONNECTION_{name.upper()}", dsn)
    return Two(TaskBench(tmp_path), found)


@contextmanager
def kill(point: str) -> Iterator[None]:
    """Have a load end at a point as a killed process does: it cleans nothing up."""

    def reach(name: str) -> None:
        if name == point:
            raise Killed(name)

    with pytest.MonkeyPatch.context() as patch:
        for module in (in_doubt, sink):
            patch.setattr(module, "failpoint", reach)
        patch.setattr(in_doubt, "_give_up", lambda *_: None)
        with pytest.raises(Killed):
            yield


@pytest.mark.parametrize("mode", MODES)
def test_both_tables_are_written_and_nothing_stays_in_doubt(two: Two, mode: str) -> None:
    two.load(1, 2, mode=mode)
    report = two.load(2, 3, mode=mode, requested=2)
    assert two.rows() == (([1, 2, 3], [1, 2, 3]) if mode == "upsert" else ([2, 3], [2, 3]))
    assert two.prepared() == []
    hosts = {target.target.rpartition(".out.")[0] for target in report.published}
    assert len(hosts) == 2, "each table is told with its own database"
    assert two.query("results", "SELECT count(*) FROM ropewalk.decision") == [(0,)]


def test_numbers_that_go_by_a_table_of_their_own_can_be_prepared(two: Two) -> None:
    data = pa.table({"n": pa.array([decimal.Decimal("1.50")], pa.decimal128(38, 2))})
    two.bench.perform(two.request(data=data))
    assert two.rows() == ([decimal.Decimal("1.50")], [decimal.Decimal("1.50")])
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'ropewalk'::regnamespace AND relkind = 'r'"
    assert {name for (name,) in two.query("warehouse", tables)} <= {"load", "decider", "decision"}


@pytest.mark.parametrize("point", CRASHES)
def test_the_next_attempt_finishes_what_a_killed_one_has_left(two: Two, point: str) -> None:
    two.load(1)
    request = two.request(2, requested=2)
    with kill(point):
        two.bench.perform(request)
    assert len(two.prepared()) == 1, "there is something to recover"
    report = two.bench.perform(request, attempt=2)
    assert two.rows() == ([2], [2])
    assert two.prepared() == []
    assert all(target.replayed for target in report.published) == (point == "sink.decided")


@pytest.mark.parametrize(
    ("point", "rows"), [("sink.prepared", [1]), ("sink.fenced", [1]), ("sink.decided", [2])]
)
def test_a_stage_that_starts_finishes_what_nobody_else_will(
    two: Two, monkeypatch: pytest.MonkeyPatch, point: str, rows: list[int]
) -> None:
    """As the decider has decided; and where it has not, the load is given up for good."""
    two.load(1)
    with kill(point):
        two.load(2, requested=2)
    if point != "sink.decided":
        in_doubt.mend()
        assert len(two.prepared()) == 1, "what has just been prepared is about to be decided"
    monkeypatch.setattr(in_doubt, "PATIENCE", 0.0)
    in_doubt.mend()
    assert two.prepared() == []
    assert two.rows() == (rows, rows)


def test_what_was_given_up_cannot_be_committed_any_more(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was stopped between the two, and wakes up: it is the decider's row that counts."""
    two.load(1)
    monkeypatch.setattr(in_doubt, "PATIENCE", 0.0)
    request = two.request(2, requested=2)
    with pytest.raises(RetryableError, match="the load was given up"):
        two.bench.perform(request, fence=in_doubt.mend)
    assert two.rows() == ([1], [1])
    assert two.prepared() == []
    two.bench.perform(request, attempt=2)
    assert two.rows() == ([2], [2])


def test_a_fence_that_says_no_leaves_both_as_they_were(two: Two) -> None:
    two.load(1)

    def lost() -> None:
        raise RetryableError("another attempt has taken this task over", code="fenced")

    with pytest.raises(RetryableError, match="another attempt"):
        two.bench.perform(two.request(2, requested=2), fence=lost)
    assert two.rows() == ([1], [1])
    assert two.prepared() == []


def test_a_transaction_that_has_failed_unheard_is_no_commit(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers its COMMIT by a rollback, which is no error."""
    two.load(1)

    begin = reaper.begin

    def fail(database: Database, loads: Sequence[Load], *rest: Any) -> list[Found]:
        found = begin(database, loads, *rest)
        with contextlib.suppress(psycopg.DataError):
            database.session.execute("SELECT 1 / 0")
        return [replace(one, state="current") for one in found]

    monkeypatch.setattr(reaper, "begin", fail)
    with pytest.raises(FatalError, match="the transaction had failed before its end"):
        two.bench.run(
            "store",
            [("postgres", {"schema": "out", "mode": "replace"})],
            inputs={"here": table(numbers(2))},
            requested=2,
        )


def test_an_error_in_one_database_leaves_both_as_they_were(two: Two) -> None:
    two.load(1)
    two.query("warehouse", "ALTER TABLE out.there ADD CHECK (n < 5)")
    with pytest.raises(DataError, match="the table refuses the rows"):
        two.load(7, requested=2)
    assert two.rows() == ([1], [1])
    assert two.prepared() == []


def test_a_load_that_waits_for_one_in_doubt_ends_it(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is in one of the databases alone."""
    two.load(1)
    with kill("sink.decided"):
        two.load(2, requested=2)
    monkeypatch.setattr(reaper, "PATIENCE", "100ms")
    two.bench.run(
        "store",
        [("postgres", {"schema": "out", "mode": "replace", "connection": "warehouse"})],
        inputs={"there": table(numbers(3))},
        requested=3,
    )
    assert two.prepared() == []
    assert two.rows() == ([2], [3])


def test_another_installations_transactions_are_left_alone(
    two: Two, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose decider this one does not know, though its connection has the same name."""
    request = two.request(2)
    with kill("sink.decided"):
        two.bench.perform(request)
    monkeypatch.setattr(in_doubt, "PATIENCE", 0.0)
    with monkeypatch.context() as other:
        other.setenv("ROPEWALK_CONNECTION_RESULTS", postgres.database().stage("store"))
        in_doubt.mend()
        assert len(two.prepared()) == 1
        with pytest.raises(RetryableError, match="holds a transaction in doubt"):
            two.bench.perform(request, attempt=2)
    in_doubt.mend()
    assert two.rows() == ([2], [2])


def test_the_collector_asks_both_databases(two: Two) -> None:
    report = two.load(1)
    two.query("results", "DELETE FROM ropewalk.load")
    assert current() == {report.key}


def test_a_wait_in_a_transaction_is_kept_up(two: Two) -> None:
    """While another database is written, however long that takes."""
    with psycopg.connect(two.dsns["results"], autocommit=True) as session:
        session.execute("SET idle_in_transaction_session_timeout TO '500ms'")
        session.execute("BEGIN")
        waiting = in_doubt.Database("results", session, {}, alone=False)
        with in_doubt.awake([waiting], 0.05), psycopg.connect(two.dsns["warehouse"]) as busy:
            busy.execute("SELECT pg_sleep(1.5)")
        assert session.execute("SELECT 1").fetchone() == (1,)


@pytest.fixture(scope="module")
def unable() -> Iterator[Databases]:
    """A server that prepares no transactions."""
    with throwaway({"max_prepared_transactions": "0"}) as cluster:
        databases = Databases(cluster, {login: f"{login}-test" for login in LOGINS})
        databases.provision_roles()
        for name in ("a", "b"):
            databases.provision_results(name)
        yield databases


def test_databases_that_prepare_nothing_are_refused(
    unable: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsns = {"results": unable.stage("store", "a"), "warehouse": unable.stage("store", "b")}
    for name, dsn in dsns.items():
        monkeypatch.setenv(f"ROPEWALK_CONNECTION_{name.upper()}", dsn)
    two = Two(TaskBench(tmp_path), dsns)
    with pytest.raises(
        ConfigError, match="'results' and 'warehouse' cannot be written together"
    ) as caught:
        two.load(1)
    assert caught.value.hint == (
        "set max_prepared_transactions in all but one of them, or publish in a step for each"
    )
    with psycopg.connect(dsns["results"]) as session:
        assert session.execute("SELECT to_regclass('out.here')").fetchone() == (None,)


def test_one_of_them_may_prepare_nothing(
    two: Two, unable: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the one that decides."""
    two.dsns["warehouse"] = unable.stage("store", "a")
    monkeypatch.setenv("ROPEWALK_CONNECTION_WAREHOUSE", two.dsns["warehouse"])
    two.load(1)
    request = two.request(2, requested=2)
    with kill("sink.decided"):
        two.bench.perform(request)
    two.bench.perform(request, attempt=2)
    assert two.rows() == ([2], [2])
    assert two.prepared() == []


def test_no_two_databases_have_one_name(
    two: Two, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one of them two: it is made once, whoever asks first."""
    name = "SELECT id FROM ropewalk.decider"
    two.load(1)
    before = [two.query(one, name) for one in two.dsns]
    two.dsns["results"] = postgres.database().stage("store")
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", two.dsns["results"])
    two.load(2, requested=2)
    after = [two.query(one, name) for one in two.dsns]
    assert before[1] == after[1]
    assert len({*map(str, (*before, *after))}) == 3
