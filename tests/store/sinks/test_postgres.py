"""Tables in a real PostgreSQL: what a reader sees, whatever happens to the loads."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hypothesis
import psycopg
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from ropewalk.contracts.errors import (
    ConfigError,
    DataError,
    FatalError,
    RetryableError,
)
from ropewalk.contracts.keys import task_key
from ropewalk.kernel.manifests import MANIFEST, folder
from ropewalk.store import postgres as sink
from ropewalk.store import reaper
from ropewalk.store.encode import encoded
from ropewalk.testing.bench import TaskBench
from ropewalk.testing.sinks import Row, SinkSuite, day, numbers, table

from tests.conftest import Database, Postgres
from tests.disks import small_disk

UTC = dt.UTC
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
WATCH = """
CREATE TABLE out.watched (said text);
GRANT SELECT, INSERT ON out.watched TO ropewalk_store;
CREATE FUNCTION out.watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO out.watched VALUES (current_setting('synchronous_commit')); RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER INSERT ON out.days FOR EACH STATEMENT EXECUTE FUNCTION out.watch();
"""


class TestPostgres(SinkSuite):
    name = "postgres"
    options = {"schema": "out"}

    @pytest.fixture(autouse=True)
    def results(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
        """An empty database for the results."""
        monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", database.stage("store"))
        self.database = database
        return database

    def read(self) -> list[Row]:
        return [{"n": n, "word": word} for n, word in self.query("SELECT n, word FROM out.days")]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the results."""
        with psycopg.connect(self.database.stage("store")) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def publish(self, bench: TaskBench, data: pa.Table, mode: str = "replace", **more: Any) -> Any:
        """Publish any table; the report."""
        requested = more.pop("requested", 1)
        return bench.run(
            "store",
            [("postgres", {**self.options, "mode": mode, **more})],
            inputs={"days": data},
            partition=day(1),
            requested=requested,
        )

    def test_upsert_by_key(self, bench: TaskBench) -> None:
        for requested, rows in (
            (1, [(1, "a"), (2, "b")]),
            (2, [(2, "c"), (3, "d")]),
            (2, [(2, "c"), (3, "d")]),
        ):
            data = pa.table({"n": [n for n, _ in rows], "word": [word for _, word in rows]})
            self.publish(bench, data, "upsert", key=["n"], requested=requested)
        assert sorted(self.query("SELECT n, word FROM out.days")) == [(1, "a"), (2, "c"), (3, "d")]

    def test_upserts_that_come_late_leave_the_rows_of_later_requests(
        self, bench: TaskBench
    ) -> None:
        """The table is as if the requests had been done in their order."""
        for requested, rows in ((5, [(1, "e"), (2, "e")]), (3, [(2, "c"), (3, "c")])):
            data = pa.table({"n": [n for n, _ in rows], "word": [word for _, word in rows]})
            self.publish(bench, data, "upsert", key=["n"], requested=requested)
        assert sorted(self.query("SELECT n, word FROM out.days")) == [(1, "e"), (2, "e"), (3, "c")]

    def test_a_late_upsert_tells_which_rows_it_has_left_to_later_ones(
        self, bench: TaskBench
    ) -> None:
        """Told again as it was, where the report was lost."""
        data = pa.table({"n": [1, 2, 3], "word": ["e"] * 3})
        self.publish(bench, data, "upsert", key=["n"], requested=5)
        late = pa.table({"n": [2, 3, 4], "word": ["c"] * 3})
        request = bench.request(
            "store", [("postgres", {**self.options, "mode": "upsert", "key": ["n"]})],
            inputs={"days": late}, partition=day(1), requested=3,
        )  # fmt: skip
        told = bench.perform(request).published[0]
        assert (told.rows, told.left, told.superseded) == (1, 2, False)
        bench.store.objects.delete(f"{folder(task_key(request))}/{MANIFEST}")
        again = bench.perform(request, attempt=2).published[0]
        assert (again.rows, again.left, again.replayed) == (1, 2, True)
        assert self.query("SELECT rows FROM ropewalk.load ORDER BY id") == [(3,), (1,)]

    def test_an_upserted_row_is_whole_in_whatever_order_it_came(self, bench: TaskBench) -> None:
        """A column that its data lacks is NULL."""
        older = pa.table({"n": [1], "word": ["c"], "x": [7]})
        later = pa.table({"n": [1], "word": ["e"]})
        for schema, order in (("early", (3, 5)), ("late", (5, 3))):
            for requested in order:
                data = older if requested == 3 else later
                options = {"schema": schema, "mode": "upsert", "key": ["n"]}
                bench.run("store", [("postgres", options)], inputs={"days": data}, requested=requested)  # fmt: skip
        rows = "SELECT n, word, x FROM {}.days"
        assert (
            self.query(rows.format("early")) == self.query(rows.format("late")) == [(1, "e", None)]
        )

    def test_two_inputs_into_one_table_are_refused(self, bench: TaskBench) -> None:
        """The second was taken for done by the first."""
        options = {**self.options, "mode": "replace", "tables": {"a": "t", "b": "t"}}
        inputs = {name: table(numbers(1)) for name in ("a", "b")}
        with pytest.raises(ConfigError, match="two inputs go to one table"):
            bench.run("store", [("postgres", options)], inputs=inputs)

    def test_another_key_is_refused_and_says_by_which_the_rows_are_told_apart(
        self, bench: TaskBench
    ) -> None:
        data = pa.table({"n": [1], "word": ["a"]})
        self.publish(bench, data, "upsert", key=["n"])
        with pytest.raises(ConfigError, match="its rows are told apart by n, not by word") as told:
            self.publish(bench, data, "upsert", key=["word"], requested=2)
        assert told.value.hint == "DROP INDEX out.days_ropewalk_key for another key"

    def test_a_row_without_a_key_is_refused(self, bench: TaskBench) -> None:
        """It would meet none, and be there once more after every run."""
        data = pa.table({"n": [1, None], "word": ["a", "b"]})
        with pytest.raises(DataError, match="1 rows have no key: n is NULL"):
            self.publish(bench, data, "upsert", key=["n"])

    def test_a_replacement_that_comes_late_leaves_the_rows_of_a_later_upsert(
        self, bench: TaskBench
    ) -> None:
        """And loads the others: of each row the later request's wins."""

        def load(requested: int, mode: str, *rows: tuple[int, str], **more: Any) -> Any:
            data = pa.table({"n": [n for n, _ in rows], "word": [word for _, word in rows]})
            do = [("postgres", {**self.options, "mode": mode, **more})]
            report = bench.run("store", do, inputs={"days": data}, requested=requested)
            return report.published[0]

        load(1, "upsert", (1, "a"), key=["n"])
        load(5, "upsert", (2, "e"), (3, "e"), key=["n"])
        assert not load(3, "replace", (2, "c"), (4, "c")).superseded
        assert sorted(self.query("SELECT n, word FROM out.days")) == [(2, "e"), (3, "e"), (4, "c")]

    def test_a_replacement_is_unchanged_only_where_nothing_else_is_there(
        self, bench: TaskBench
    ) -> None:
        self.load(bench, numbers(2), "replace_partition", partition=2, requested=2)
        self.load(bench, numbers(7), "replace", requested=1)
        assert self.seen() == [2, 7]
        assert not self.load(bench, numbers(7), "replace", requested=3).replayed
        assert self.seen() == [7]
        assert self.load(bench, numbers(7), "replace", requested=4).replayed

    def test_a_load_waits_for_the_disk_where_the_database_does_not(self, bench: TaskBench) -> None:
        self.load(bench, numbers(1), "append")
        with psycopg.connect(self.database.superuser, autocommit=True) as session:
            assert session.execute("SHOW synchronous_commit").fetchone() == ("off",)
            session.execute(WATCH)
        self.load(bench, numbers(2), "append", partition=2)
        assert self.query("SELECT DISTINCT said FROM out.watched") == [("on",)]

    def test_a_replacement_that_comes_late_leaves_the_partitions_of_later_requests(
        self, bench: TaskBench
    ) -> None:
        self.load(bench, numbers(1), "replace_partition", partition=1, requested=1)
        self.load(bench, numbers(2), "replace_partition", partition=2, requested=5)
        assert not self.load(bench, numbers(7), "replace", requested=3).superseded
        assert self.seen() == [2, 7]
        assert self.load(bench, numbers(2), "replace_partition", partition=2, requested=6).replayed

    def test_a_load_whose_report_was_lost_is_not_done_again(self, bench: TaskBench) -> None:
        """The attempt after it finds it in the ledger."""
        request = bench.request(
            "store",
            [("postgres", {**self.options, "mode": "append"})],
            inputs={"days": table(numbers(1, 2))},
            partition=day(1),
        )
        bench.perform(request)
        key = task_key(request)
        bench.store.objects.delete(f"tasks/{key[:2]}/{key}/manifest.json")
        assert bench.perform(request, attempt=2).published[0].replayed
        assert self.seen() == [1, 2]

    @pytest.mark.parametrize(
        ("mode", "other"),
        [
            ("append", "append"),
            ("replace_partition", "replace_partition"),
            ("replace", "replace_partition"),
        ],
    )
    def test_a_load_of_the_same_part_of_a_table_waits_for_the_one_before(
        self, bench: TaskBench, monkeypatch: pytest.MonkeyPatch, mode: str, other: str
    ) -> None:
        """It waits for the lock, and not for a row: else it would not see what the other has written.

        Nor would it where its transaction sees what was there when it began, as a database may have them do.
        """
        isolation = quote("-c default_transaction_isolation=repeatable\\ read")
        results = f"{self.database.stage('store')}?options={isolation}"
        monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", results)
        self.load(bench, numbers(0), "replace_partition", partition=2)
        loaded, go = threading.Event(), threading.Event()

        def hold(point: str) -> None:
            if point == "sink.loaded" and not loaded.is_set():
                loaded.set()
                assert go.wait(20)

        monkeypatch.setattr(sink, "failpoint", hold)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(self.load, bench, numbers(1), mode, requested=5)
            assert loaded.wait(20)
            late = pool.submit(self.load, bench, numbers(2), other, requested=3)
            try:
                while not late.done() and self.query(WAITING) == [(0,)]:
                    time.sleep(0.01)
                assert not late.done(), "it has not waited"
            finally:
                go.set()
            assert not first.result().superseded
            assert late.result().superseded
        assert self.seen() == ([1] if mode == "replace" else [0, 1])

    @pytest.mark.parametrize("mode", ["replace", "upsert"])
    def test_texts_arrive_whatever_encoding_a_connection_names(
        self, bench: TaskBench, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        results = f"{self.database.stage('store')}?client_encoding=latin1"
        monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", results)
        key = {"key": ["n"]} if mode == "upsert" else {}
        self.publish(bench, pa.table({"n": [1], "word": ["Žižkov ✈"]}), mode, **key)
        assert self.query("SELECT word FROM out.days") == [("Žižkov ✈",)]

    def test_loads_at_once_that_want_other_columns_add_each_once(self, bench: TaskBench) -> None:
        self.load(bench, numbers(0), "replace_partition", partition=1)

        def load(n: int) -> None:
            data = pa.table({"n": [n], "word": ["w"], f"own_{n}": [n], "common": [n]})
            options = {**self.options, "mode": "replace_partition"}
            bench.run(
                "store",
                [("postgres", options)],
                inputs={"days": data},
                partition=day(n),
                requested=n,
            )

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(load, range(2, 8)))
        rows = self.query(
            "SELECT n, common, own_2, own_7, _ropewalk_partition FROM out.days ORDER BY n"
        )
        assert rows[0][:4] == (0, None, None, None)
        assert [row[:4] for row in rows[1:]] == [
            (n, n, 2 if n == 2 else None, 7 if n == 7 else None) for n in range(2, 8)
        ]

    def test_the_session_of_an_earlier_attempt_is_ended(self, bench: TaskBench) -> None:
        """Whatever it holds: it has lost its task."""
        request = bench.request(
            "store",
            [("postgres", {**self.options, "mode": "replace"})],
            inputs={"days": table(numbers(1))},
        )
        name = f"ropewalk:{task_key(request)[:12]}"
        sessions = {
            number: psycopg.connect(
                self.database.stage("store"), application_name=f"{name}:{number}", autocommit=True
            )
            for number in (1, 2, 3)
        }
        bench.perform(request, attempt=2)
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            sessions[1].execute("SELECT 1")
        for number in (2, 3):
            sessions[number].execute("SELECT 1").close()
            sessions[number].close()
        sessions[1].close()

    def test_a_load_that_is_frozen_in_its_copy_is_ended_by_one_that_waits_for_it(
        self, bench: TaskBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.load(bench, numbers(1), "replace_partition")
        monkeypatch.setattr(reaper, "PATIENCE", "100ms")
        with psycopg.connect(
            self.database.stage("store"), application_name="ropewalk:frozen:1"
        ) as frozen:
            frozen.execute("SELECT pg_advisory_xact_lock(hashtextextended('out.days', 2))")
            frozen.pgconn.exec_(b"COPY out.days FROM STDIN")
            self.load(bench, numbers(2), "replace_partition", requested=2)
            frozen.close()
        assert self.seen() == [2]

    def test_a_load_that_falls_silent_in_its_transaction_is_ended(
        self, bench: TaskBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the server: nobody else knows that it is there, and it holds its locks."""
        self.load(bench, numbers(1), "replace_partition")
        with monkeypatch.context() as patch:
            patch.setattr(sink, "IDLE", 0.01)
            patch.setattr(
                sink, "failpoint", lambda point: time.sleep(point == "sink.locked" and 1.5)
            )
            with pytest.raises(RetryableError, match="idle-in-transaction timeout"):
                self.load(bench, numbers(2), "replace_partition", requested=2)
        assert self.seen() == [1]

    def test_a_load_that_loses_a_row_on_its_way_is_undone(
        self, bench: TaskBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.load(bench, numbers(1), "replace_partition")

        def lossy(reader: pa.RecordBatchReader, *told: Any) -> Iterator[Any]:
            return encoded(reader.read_all().slice(1).to_reader(), *told)

        with monkeypatch.context() as patch:
            patch.setattr(sink, "encoded", lossy)
            with pytest.raises(FatalError, match=r"out\.days took 1 rows of 2"):
                self.load(bench, numbers(2, 3), "replace_partition", requested=2)
        assert self.seen() == [1]

    def test_a_key_that_is_doubled_in_the_data_is_refused(self, bench: TaskBench) -> None:
        with pytest.raises(DataError) as caught:
            self.publish(bench, pa.table({"n": [1, 1], "word": ["a", "b"]}), "upsert", key=["n"])
        assert str(caught.value) == (
            "out.days: 1 keys (n) are there more than once in the data (deduplicate in a process step)"
        )

    def test_a_new_column_is_added_and_one_that_is_gone_is_null(self, bench: TaskBench) -> None:
        self.publish(bench, pa.table({"n": [1], "old": ["x"]}), "append", requested=1)
        self.publish(bench, pa.table({"n": [2], "new": [1.5]}), "replace_partition", requested=2)
        assert sorted(self.query("SELECT n, old, new FROM out.days")) == [
            (1, "x", None),
            (2, None, 1.5),
        ]

    def test_a_column_that_waits_for_a_reader_of_the_table_gives_up(
        self, bench: TaskBench, tmp_path: Path
    ) -> None:
        self.publish(bench, pa.table({"n": [1]}))
        impatient = TaskBench(tmp_path / "impatient", lock_seconds=0.3)
        with psycopg.connect(self.database.stage("store")) as reader:
            reader.execute("SELECT * FROM out.days")  # its transaction stays open
            with pytest.raises(RetryableError, match="another transaction was in the way") as told:
                self.publish(impatient, pa.table({"n": [2], "new": [1]}), requested=2)
        assert told.value.code == "locked"
        assert self.query("SELECT n FROM out.days") == [(1,)]

    def test_nobody_waits_to_read_behind_a_column_that_waits(
        self, bench: TaskBench, tmp_path: Path
    ) -> None:
        """PostgreSQL has new readers queue behind who waits to change a table, here behind a reader that takes long."""
        self.publish(bench, pa.table({"n": [1]}))
        patient = TaskBench(tmp_path / "patient", lock_seconds=20)
        with (
            ThreadPoolExecutor(1) as pool,
            psycopg.connect(self.database.stage("store")) as long,
            psycopg.connect(self.database.stage("store"), autocommit=True) as short,
        ):
            long.execute("SELECT * FROM out.days")  # its transaction stays open
            short.execute("SET statement_timeout TO '4s'")
            load = pool.submit(self.publish, patient, pa.table({"n": [2], "new": [1]}), requested=2)
            for _ in range(100):
                assert short.execute("SELECT n FROM out.days").fetchall() == [(1,)]
                time.sleep(0.02)
            long.rollback()
            assert load.result().published[0].rows == 1
        assert self.query("SELECT n, new FROM out.days") == [(2, 1)]

    def test_a_frozen_load_that_keeps_a_column_waiting_is_ended(
        self, bench: TaskBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.publish(bench, pa.table({"n": [1]}))
        monkeypatch.setattr(reaper, "PAUSE", 0.05)
        with psycopg.connect(
            self.database.stage("store"), application_name="ropewalk:frozen:1"
        ) as frozen:
            frozen.pgconn.exec_(b"COPY out.days FROM STDIN")
            self.publish(bench, pa.table({"n": [2], "new": [1]}), requested=2)
            frozen.close()
        assert self.query("SELECT n, new FROM out.days") == [(2, 1)]

    def test_a_frozen_table_refuses_a_new_column(self, bench: TaskBench) -> None:
        self.publish(bench, pa.table({"n": [1]}))
        with pytest.raises(DataError) as caught:
            self.publish(bench, pa.table({"n": [2], "new": [1]}), columns="freeze", requested=2)
        assert str(caught.value) == "out.days has no column 'new' (columns: evolve adds it)"
        assert self.query("SELECT n FROM out.days") == [(1,)]

    def test_a_wider_type_widens_the_column_and_a_narrower_is_refused(
        self, bench: TaskBench
    ) -> None:
        self.publish(bench, pa.table({"n": pa.array([1], pa.int32())}))
        self.publish(bench, pa.table({"n": pa.array([2**40], pa.int64())}), requested=2)
        assert self.query("SELECT n FROM out.days") == [(2**40,)]
        with pytest.raises(DataError) as caught:
            self.publish(bench, pa.table({"n": ["two"]}), requested=3)
        assert str(caught.value) == (
            "out.days: column 'n' is bigint, and the data is text, which would not fit"
            " (cast it to bigint in a process step, or change the table)"
        )
        assert self.query("SELECT n FROM out.days") == [(2**40,)]

    def test_names_are_names_and_never_sql(self, bench: TaskBench) -> None:
        name = 'x"; DROP TABLE out.days; --'
        self.publish(bench, pa.table({name: [1], "SELECT": [2], "ä ö": [3]}))
        self.publish(bench, pa.table({name: [4], "SELECT": [5], "ä ö": [6]}), requested=2)
        assert self.query(
            'SELECT "x""; DROP TABLE out.days; --", "SELECT", "ä ö" FROM out.days'
        ) == [(4, 5, 6)]

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            ({"n" * 64: [1]}, "is longer than 63 bytes"),
            ({"_ropewalk_load": [1]}, "the column name '_ropewalk_load' is reserved (rename it)"),
            ({"ctid": [1]}, "the column name 'ctid' is reserved (rename it)"),
            (
                {"s": ["a\0b"]},
                "column 's' has a text with a zero byte, which PostgreSQL cannot hold",
            ),
            ({"l": [{"a": 1}]}, "which PostgreSQL has no column for here"),
        ],
    )
    def test_what_postgres_cannot_hold_is_told(
        self, bench: TaskBench, data: Any, said: str
    ) -> None:
        with pytest.raises(DataError) as caught:
            self.publish(bench, pa.table(data))
        assert said in str(caught.value)

    def test_several_tables_become_visible_together_or_not_at_all(self, bench: TaskBench) -> None:
        good, bad = pa.table({"n": [1]}), pa.table({"s": ["a\0b"]})
        with pytest.raises(DataError):
            bench.run(
                "store",
                [("postgres", {**self.options, "mode": "replace"})],
                inputs={"good": good, "later": bad},
            )
        assert self.query("SELECT count(*) FROM out.good") == [(0,)]
        assert self.query("SELECT count(*) FROM ropewalk.load") == [(0,)]

    def test_the_ledger_says_who_wrote_what(self, bench: TaskBench) -> None:
        self.load(bench, numbers(1, 2), "replace_partition")
        self.load(bench, numbers(3), "replace_partition", requested=2)
        assert self.query("SELECT target, scope, rows, state FROM ropewalk.load ORDER BY id") == [
            ("out.days", "2013-01-01", 2, "replaced"),
            ("out.days", "2013-01-01", 1, "current"),
        ]  # fmt: skip

    def test_a_database_that_is_down_is_waited_for_and_its_password_stays_secret(
        self, bench: TaskBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", "postgresql://u:hush-hush@127.0.0.1:1/db")
        with pytest.raises(
            RetryableError, match="^the database of 'results' does not answer"
        ) as caught:
            self.publish(bench, pa.table({"n": [1]}))
        assert "hush" not in str(caught.value)

    def test_a_connection_that_is_not_there_is_told_with_the_nearest(
        self, bench: TaskBench
    ) -> None:
        with pytest.raises(ConfigError, match="this stage has no connection 'result'") as caught:
            self.publish(bench, pa.table({"n": [1]}), connection="result")
        assert caught.value.hint == "did you mean 'results'?"

    def test_a_full_disk_is_for_now_and_undoes_the_load(self, bench: TaskBench) -> None:
        self.publish(bench, pa.table({"n": [1]}))
        self.query(FULL)
        with pytest.raises(RetryableError) as caught:
            self.publish(bench, pa.table({"n": [2]}), requested=2)
        assert (
            str(caught.value)
            == "the database's disk is full: could not extend file: No space left on device"
        )
        assert self.query("SELECT n FROM out.days") == [(1,)]

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (
                pa.array([2**63 - 1], pa.timestamp("us")),
                "a moment lies outside of 4713 BC to 294276 AD",
            ),
            (pa.array([-(2**63) + 1], pa.timestamp("us")), "a moment lies outside of 4713 BC"),
            (
                pa.array([-(2**31)], pa.int32()).cast(pa.date32()),
                "a moment lies outside of 4713 BC",
            ),
            (pa.array([2**62], pa.timestamp("s")), "out of bounds timestamp"),
            (
                pa.array([1], pa.timestamp("ns")),
                "would lose data: 1 (PostgreSQL keeps microseconds",
            ),
            (pa.array([1], pa.time64("ns")), "would lose data: 1 (PostgreSQL keeps microseconds"),
        ],
        ids=["last", "first", "day", "seconds", "nanoseconds", "time"],
    )
    def test_a_moment_that_postgres_has_not_is_told_with_its_column(
        self, bench: TaskBench, data: pa.Array, said: str
    ) -> None:
        with pytest.raises(DataError) as caught:
            self.publish(bench, pa.table({"at": data}))
        assert str(caught.value).startswith("column 'at': ")
        assert said in str(caught.value)

    def test_too_many_columns_are_told_before_anything_is_made(self, bench: TaskBench) -> None:
        with pytest.raises(DataError) as caught:
            self.publish(bench, pa.table({f"c{n}": [n] for n in range(1_601)}))
        assert str(caught.value) == "out.days: 1601 columns; PostgreSQL has at most 1598"

    def test_a_row_that_is_too_long_for_a_page_is_told(self, bench: TaskBench) -> None:
        with pytest.raises(DataError) as caught:
            self.publish(bench, pa.table({f"c{n}": [2**40 + n] for n in range(1_500)}))
        assert re.fullmatch(
            r"a row is more than PostgreSQL can hold: row is too big: size \d+, maximum size 8160"
            r" \(publish fewer columns, or shorter values\)",
            str(caught.value),
        )

    @pytest.mark.parametrize(
        ("column", "data", "said"),
        [
            (
                "numeric(10,2)",
                pa.array([decimal.Decimal("1.239")]),
                "is numeric(10,2), and would round the data",
            ),
            (
                "timestamp(0)",
                pa.array([0], pa.timestamp("us")),
                "is timestamp(0) without time zone, and would round",
            ),
            ("numeric(4,2)", pa.array([decimal.Decimal("123.45")]), "numeric field overflow"),
            ("varchar(3)", pa.array(["long"]), "is character varying, and the data is text"),
            ("integer", pa.array([2**31]), "is integer, and the data is bigint"),
        ],
    )
    def test_a_column_that_somebody_made_narrower_neither_rounds_nor_cuts(
        self, bench: TaskBench, column: str, data: pa.Array, said: str
    ) -> None:
        self.query(f"CREATE SCHEMA out; CREATE TABLE out.days (v {column})")
        with pytest.raises(DataError) as caught:
            self.publish(bench, pa.table({"v": data}), columns="freeze")
        assert said in str(caught.value)

    def test_a_column_that_somebody_made_as_wide_takes_the_data(self, bench: TaskBench) -> None:
        self.query("CREATE SCHEMA out; CREATE TABLE out.days (v numeric(10,2), w numeric(10,2))")
        self.publish(bench, pa.table({"v": [decimal.Decimal("1.20")], "w": [7]}))
        assert self.query("SELECT v, w FROM out.days") == [(decimal.Decimal("1.20"), 7)]

    def test_a_disk_that_is_really_full_is_for_now_and_undoes_the_load(
        self, bench: TaskBench, postgres: Postgres
    ) -> None:
        account = postgres.cluster.account
        place = Path("/tmp") / f"ropewalk-{secrets.token_hex(4)}"  # noqa: S108 - where the server's account comes
        with small_disk(place, "4m", (account.uid, account.gid)) as disk, self.tablespace(place):
            self.publish(bench, pa.table({"n": [1]}))
            many = pa.table({"n": range(300_000)})
            with pytest.raises(RetryableError) as caught:
                self.publish(bench, many, requested=2)
            assert caught.value.code == "disk_full"
            assert str(caught.value).startswith(
                "the database's disk is full: could not extend file"
            )
            assert self.query("SELECT n FROM out.days") == [(1,)]
            disk.grow("128m")
            self.publish(bench, many, requested=2)
            assert self.query("SELECT count(*) FROM out.days") == [(300_000,)]

    @contextmanager
    def tablespace(self, place: Path) -> Iterator[None]:
        """New tables lie on a disk."""
        name = f"small_{self.database.name}"
        with psycopg.connect(self.database.superuser, autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'".encode())
            connection.execute(f"GRANT CREATE ON TABLESPACE {name} TO PUBLIC".encode())
            connection.execute(
                f"ALTER DATABASE {self.database.name} SET default_tablespace = {name}".encode()
            )
            try:
                yield
            finally:
                connection.execute(b"DROP TABLE IF EXISTS out.days")
                connection.execute(
                    f"ALTER DATABASE {self.database.name} RESET default_tablespace".encode()
                )
                connection.execute(b"DROP SCHEMA IF EXISTS ropewalk CASCADE")
                connection.execute(f"DROP TABLESPACE {name}".encode())

    def test_a_schema_that_is_anothers_is_told(self, bench: TaskBench) -> None:
        with pytest.raises(
            FatalError, match="the role of 'results' may not do this: permission denied"
        ):
            bench.run(
                "store",
                [("postgres", {"schema": "collect", "mode": "replace"})],
                inputs={"days": pa.table({"n": [1]})},
            )

    def test_every_type_comes_back_as_it_was(self, bench: TaskBench) -> None:
        self.publish(bench, EVERYTHING)
        names = ", ".join(EVERYTHING.column_names)
        found = self.query(f"SELECT {names} FROM out.days ORDER BY i64 NULLS LAST")
        assert [dict(zip(EVERYTHING.column_names, row, strict=True)) for row in found] == [
            {name: _as_read(value) for name, value in row.items()} for row in EVERYTHING.to_pylist()
        ]


FULL = """
CREATE FUNCTION out.full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON out.days EXECUTE FUNCTION out.full()
"""
NOON = dt.datetime(2013, 11, 3, 12, 30, 15, 123456)  # noqa: DTZ001 - of no zone
EVERYTHING = pa.table(
    {
        "i64": pa.array([-(2**63), 2**63 - 1, None], pa.int64()),
        "i32": pa.array([-(2**31), 2**31 - 1, None], pa.int32()),
        "i16": pa.array([-(2**15), 2**15 - 1, None], pa.int16()),
        "u8": pa.array([0, 255, None], pa.uint8()),
        "f64": pa.array([math.inf, -0.5, None], pa.float64()),
        "f32": pa.array([0.25, -1.5, None], pa.float32()),
        "yes": pa.array([True, False, None]),
        "text": pa.array(["", "ä𝄞\n\t\\N", None]),
        "large": pa.array(["x" * 10_000, "", None], pa.large_string()),
        "word": pa.array(["a", "b", None]).dictionary_encode(),
        "bytes": pa.array([b"\0\xff", b"", None]),
        "money": pa.array([decimal.Decimal("-12345678901234567.89"), decimal.Decimal(0), None], pa.decimal128(30, 2)),
        "day": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
        "at": pa.array([NOON, NOON.replace(year=1900), None], pa.timestamp("us")),
        "seconds": pa.array([NOON.replace(microsecond=0), None, None], pa.timestamp("s")),
        "zoned": pa.array([NOON.replace(tzinfo=UTC), None, None], pa.timestamp("us", "America/New_York")),
        "time": pa.array([dt.time(23, 59, 59, 999999), dt.time(0), None], pa.time64("us")),
        "nothing": pa.nulls(3),
    }
)  # fmt: skip


def _as_read(value: Any) -> Any:
    """A value as psycopg gives it: moments with a zone in UTC."""
    if isinstance(value, dt.datetime) and value.tzinfo:
        return value.astimezone(UTC)
    return value


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        st.one_of(st.none(), st.floats(allow_nan=False)),
        st.one_of(st.none(), texts),
        st.one_of(st.none(), st.binary(max_size=20)),
        st.one_of(st.none(), st.booleans()),
        st.one_of(st.none(), st.datetimes()),
    ),
    max_size=30,
)


@hypothesis.given(rows=rows, batch=st.integers(1, 10))
@hypothesis.settings(
    max_examples=40, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_the_binary_form_holds_what_it_was_given(
    database: Database, rows: list[tuple[Any, ...]], batch: int
) -> None:
    """Any rows in any batches, sent as the sink sends them and read by the database itself."""
    from ropewalk.store.encode import encoded

    kinds = [pa.int64(), pa.float64(), pa.string(), pa.binary(), pa.bool_(), pa.timestamp("us")]
    columns = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(kinds)]
    data = pa.table(columns, names=list("abcdef"))
    with psycopg.connect(database.superuser) as connection:
        connection.execute(
            "CREATE TEMP TABLE t (a bigint, b double precision, c text, d bytea, e boolean, f timestamp,"
            " part text, load bigint)"
        )
        with connection.cursor().copy("COPY t FROM STDIN (FORMAT BINARY)") as copy:
            for block in encoded(data.to_reader(batch), 7, "2013"):
                copy.write(block)
        found = connection.execute("SELECT * FROM t").fetchall()
        connection.rollback()
    assert sorted(found, key=repr) == sorted(((*row, "2013", 7) for row in rows), key=repr)
