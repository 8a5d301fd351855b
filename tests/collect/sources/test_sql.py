"""Queries on real databases: PostgreSQL and SQLite."""

from __future__ import annotations

import datetime as dt
import decimal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from ropewalk.collect import compare
from ropewalk.collect.sql import _checked
from ropewalk.contracts.errors import ConfigError, DataError, FatalError, RetryableError
from ropewalk.contracts.models import Report
from ropewalk.kernel.manifests import folder
from ropewalk.kernel.task import Task
from ropewalk.testing.bench import DAY, TaskBench
from ropewalk.testing.sources import SourceSuite

from tests.conftest import Database

TABLE = """
CREATE TABLE plane (tail text, seats integer, price numeric(12, 2), built date, seen timestamptz, extra jsonb);
INSERT INTO plane VALUES ('N1', 20, 1.50, '1999-01-02', '2013-01-01 05:00Z', '{"a": 1}'),
    ('N2', NULL, NULL, NULL, '2013-01-02 05:00Z', NULL), ('N3', 150, -0.25, '2004-02-29', NULL, '[]')
"""

COLLATIONS = """
SELECT collname FROM pg_collation WHERE collname ~ '^(und-x-icu|en_US)' AND collencoding IN (-1, 6) LIMIT 1
"""


@pytest.fixture(autouse=True)
def fleet(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database with three planes."""
    with psycopg.connect(database.superuser) as connection:
        connection.execute(TABLE)
    monkeypatch.setenv("ROPEWALK_CONNECTION_FLEET", database.superuser)
    monkeypatch.setenv("ROPEWALK_PRIVATE_HOSTS", "127.0.0.1")
    return database


@pytest.fixture
def bench(tmp_path: Path) -> TaskBench:
    """The stage, with a dataset store of its own."""
    return TaskBench(tmp_path)


def collect(bench: TaskBench, **options: Any) -> Report:
    """The report of a step that asks the database."""
    values = options.pop("values", None)
    return bench.run("collect", [("sql", {"connection": "fleet", **options})], values=values)


class TestPostgres(SourceSuite):
    plugin = "sql"
    options = {"connection": "fleet", "query": "SELECT * FROM plane"}
    rows = 3


class TestSqlite(SourceSuite):
    plugin = "sql"
    options = {"connection": "lite", "query": "SELECT n, word FROM t"}
    rows = 2

    @pytest.fixture(autouse=True)
    def lite(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file of SQLite."""
        with sqlite3.connect(tmp_path / "lite.db") as connection:
            connection.executescript(
                "CREATE TABLE t (n, word); INSERT INTO t VALUES (1, 'a'), (2, NULL)"
            )
        connection.close()
        monkeypatch.setenv("ROPEWALK_CONNECTION_LITE", f"sqlite:///{tmp_path}/lite.db")


def test_the_databases_types_are_kept(bench: TaskBench) -> None:
    table = bench.table(collect(bench, table="plane"))
    assert {field.name: str(field.type) for field in table.schema} == {
        "tail": "string", "seats": "int32", "price": "decimal128(12, 2)", "built": "date32[day]",
        "seen": "timestamp[us, tz=UTC]", "extra": "string",
    }  # fmt: skip
    assert table.to_pylist()[0] == {
        "tail": "N1", "seats": 20, "price": decimal.Decimal("1.50"), "built": dt.date(1999, 1, 2),
        "seen": dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC), "extra": '{"a": 1}',
    }  # fmt: skip


def test_no_rows_have_the_columns_too(bench: TaskBench) -> None:
    report = collect(bench, query="SELECT tail, seats FROM plane WHERE false")
    assert [(c.name, c.type) for c in report.columns["data"]] == [
        ("tail", "string"),
        ("seats", "int32"),
    ]


def test_declared_types_and_what_does_not_fit(bench: TaskBench) -> None:
    report = collect(
        bench,
        query="SELECT tail, substr(tail, 2) AS n FROM plane UNION SELECT 'X', 'x'",
        columns={"n": "integer"},
    )
    assert sorted(bench.table(report)["n"].to_pylist()) == [1, 2, 3]
    assert [row["column"] for row in bench.quarantine(report)] == ["n"]


def test_values_are_bound_and_never_pasted(bench: TaskBench) -> None:
    values = {"partition.start": DAY.start.isoformat(), "params.tail": "N1' OR '1'='1"}
    bounded = (
        "SELECT tail FROM plane WHERE seen >= CAST({{ partition.start }} AS timestamptz) ORDER BY 1"
    )
    assert bench.table(collect(bench, query=bounded, values=values))["tail"].to_pylist() == [
        "N1",
        "N2",
    ]
    evil = "SELECT tail FROM plane WHERE tail = {{ params.tail }}"
    assert collect(bench, query=evil, values=values).rows.out == 0


def test_colons_and_percents_are_text(bench: TaskBench) -> None:
    query = (
        "SELECT '12:30'::text AS a, '100%' AS b, built::text AS c FROM plane WHERE tail LIKE 'N1%'"
    )
    assert bench.table(collect(bench, query=query)).to_pylist() == [
        {"a": "12:30", "b": "100%", "c": "1999-01-02"}
    ]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("DELETE FROM plane RETURNING tail", "syntax error"),
        ("SELECT 1; DELETE FROM plane", "cannot insert multiple commands"),
        ("SELECT setval('s', 7)", "cannot execute setval"),
    ],
)
def test_a_query_can_only_read(bench: TaskBench, fleet: Database, query: str, said: str) -> None:
    with psycopg.connect(fleet.superuser) as connection:
        connection.execute("CREATE SEQUENCE s")
    with pytest.raises(FatalError, match=f"the database of 'fleet' refuses the query: {said}"):
        collect(bench, query=query)
    with psycopg.connect(fleet.superuser) as connection:
        assert connection.execute("SELECT count(*) FROM plane").fetchone() == (3,)


def test_a_table_that_is_not_there(bench: TaskBench) -> None:
    with pytest.raises(FatalError, match='refuses the query: relation "planes" does not exist'):
        collect(bench, table="planes")


def test_a_column_that_is_not_there(bench: TaskBench) -> None:
    with pytest.raises(ConfigError, match="the query has no column 'saets'") as caught:
        collect(bench, table="plane", columns={"saets": "integer"})
    assert caught.value.hint == "did you mean 'seats'?"


def test_two_columns_of_one_name(bench: TaskBench) -> None:
    with pytest.raises(DataError, match="two columns of the query are named 'tail'"):
        collect(bench, query="SELECT tail, tail FROM plane")


def test_a_database_that_is_down(bench: TaskBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROPEWALK_CONNECTION_FLEET", "postgresql://me:hush-hush@127.0.0.1:1/fleet")
    with pytest.raises(
        RetryableError, match="^the database of 'fleet' cannot be reached: "
    ) as caught:
        collect(bench, table="plane")
    assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "nosuchdb://x/y"])
def test_a_connection_that_is_none(
    bench: TaskBench, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("ROPEWALK_CONNECTION_FLEET", url)
    with pytest.raises(ConfigError, match="the connection 'fleet' is no SQLAlchemy URL"):
        collect(bench, table="plane")


def test_a_cursor_goes_on_from_where_it_was(bench: TaskBench) -> None:
    cursor = {"column": "tail", "start": "N1"}
    request = bench.request(
        "collect", [("sql", {"connection": "fleet", "table": "plane", "cursor": cursor})]
    )
    report = bench.perform(request)
    assert (report.rows.out, report.watermark) == (2, "N3")
    again = bench.request(
        "collect", [("sql", {"connection": "fleet", "table": "plane", "cursor": cursor})]
    )
    report = bench.perform(again, since="N3")
    assert (report.rows.out, report.watermark) == (0, "N3")


class TestDecimals:
    """Watermarks of more digits than a float has."""

    FIRST = 1_790_000_000_000_000_000

    @pytest.fixture(params=["numeric(20, 0)", "numeric(24, 4)", "numeric"])
    def happen(self, fleet: Database, request: pytest.FixtureRequest) -> Any:
        """Has rows come, by their ids, into a table whose ids are of such a type."""
        with psycopg.connect(fleet.superuser) as connection:
            connection.execute(f"CREATE TABLE event (id {request.param})")

        def rows(*ids: int | str) -> None:
            with psycopg.connect(fleet.superuser) as connection:
                connection.cursor().executemany(
                    "INSERT INTO event VALUES (%s)", [(str(one),) for one in ids]
                )

        return rows

    def read(self, bench: TaskBench, overlap: int | None = None, **told: Any) -> Report:
        cursor = {"column": "id", "overlap": overlap} if overlap else {"column": "id"}
        use = ("sql", {"connection": "fleet", "table": "event", "cursor": cursor})
        return bench.perform(bench.request("collect", [use]), **told)

    def test_all_that_is_new_is_taken(self, bench: TaskBench, happen: Any) -> None:
        happen(*range(self.FIRST, self.FIRST + 50))
        first = self.read(bench)
        assert first.watermark == str(self.FIRST + 49)
        happen(*range(self.FIRST + 50, self.FIRST + 100))
        assert self.read(bench, since=first.watermark).rows.out == 50
        assert self.read(bench, until=first.watermark).rows.out == 50
        assert self.read(bench, since=str(self.FIRST + 99)).watermark == str(self.FIRST + 99)

    def test_a_late_row_is_taken_once(self, bench: TaskBench, happen: Any) -> None:
        happen(*range(self.FIRST, self.FIRST + 50, 2))
        first = self.read(bench, overlap=10)
        happen(self.FIRST + 41, self.FIRST + 51)
        again = self.read(bench, overlap=10, since=first.watermark, previous=first.key)
        assert (again.rows.out, again.rows.dropped) == (2, {"taken before": 5})

    def test_what_an_earlier_version_has_kept_is_read(self, bench: TaskBench, happen: Any) -> None:
        happen(7, 8, 9)
        assert self.read(bench, since=8.0).watermark == "9"
        assert self.read(bench, until=8.0).rows.out == 2
        assert self.read(bench, since=9.0).watermark == 9.0


def test_decimals_of_a_fraction_go_on(bench: TaskBench, fleet: Database) -> None:
    with psycopg.connect(fleet.superuser) as connection:
        connection.execute("CREATE TABLE event (id numeric(30, 12))")
        connection.execute("INSERT INTO event VALUES (1234567890123.100000000001)")
        connection.execute("INSERT INTO event VALUES (1234567890123.1)")
    cursor = {"column": "id"}
    first = collect(bench, table="event", cursor=cursor)
    assert (first.rows.out, first.watermark) == (2, "1234567890123.100000000001")
    request = bench.request(
        "collect", [("sql", {"connection": "fleet", "table": "event", "cursor": cursor})]
    )
    assert bench.perform(request, since=first.watermark).rows.out == 0


def test_wide_rows_come_in_small_batches(bench: TaskBench, tmp_path: Path) -> None:
    query = "SELECT repeat('x', 100000) AS w FROM generate_series(1, 1200)"
    request = bench.request("collect", [("sql", {"connection": "fleet", "query": query})])
    source, options = Task(request, bench.store, bench.settings, tmp_path).use("source")
    task = Task(request, bench.store, bench.settings, tmp_path)
    batches = list(source.function(options, task))
    assert sum(batch.num_rows for batch in batches) == 1200
    assert max(batch.nbytes for batch in batches) < 64 << 20


@pytest.fixture
def lite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Fills the connection ``fleet``, here a file of SQLite, whose columns have values of any type."""
    monkeypatch.setenv("ROPEWALK_CONNECTION_FLEET", f"sqlite:///{tmp_path}/lite.db")

    def fill(script: str) -> None:
        connection = sqlite3.connect(tmp_path / "lite.db")
        connection.executescript(script)
        connection.close()

    return fill


@pytest.mark.usefixtures("lite")
def test_what_sqlite_says_of_a_query_is_no_reason_to_wait(bench: TaskBench) -> None:
    with pytest.raises(FatalError, match="refuses the query: no such table: absent"):
        collect(bench, table="absent")


def test_a_value_of_another_type_is_told_with_its_column(
    bench: TaskBench, lite: Callable[[str], None]
) -> None:
    lite("CREATE TABLE t (n); INSERT INTO t VALUES (1), ('one')")
    with pytest.raises(DataError) as caught:
        collect(bench, table="t")
    assert str(caught.value).startswith("column 'n' has a value: ")
    assert caught.value.hint == "CAST it in the query to a type that all values have"


def test_a_column_may_begin_with_nulls(bench: TaskBench, lite: Callable[[str], None]) -> None:
    lite(
        "CREATE TABLE t (n, word);"
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 50000)"
        " INSERT INTO t SELECT NULL, NULL FROM c; INSERT INTO t VALUES (7, 'x')"
    )
    report = collect(bench, table="t", columns={"n": "integer"})
    assert bench.table(report).slice(50_000).to_pylist() == [{"n": 7, "word": "x"}]


def test_a_zero_byte_is_set_aside(bench: TaskBench, lite: Callable[[str], None]) -> None:
    lite("CREATE TABLE t (w); INSERT INTO t VALUES ('a' || char(0)), ('b')")
    report = collect(bench, table="t")
    assert bench.table(report)["w"].to_pylist() == ["b"]
    assert [row["line"] for row in bench.quarantine(report)] == [1]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("'infinity'::timestamptz", "refuses the query: timestamp too large"),
        ("'-infinity'::date", "refuses the query: date too small"),
    ],
)
def test_a_moment_beyond_all_is_told(bench: TaskBench, value: str, said: str) -> None:
    with pytest.raises(FatalError, match=said):
        collect(bench, query=f"SELECT {value} AS v")


@pytest.mark.parametrize("value", ["'NaN'::numeric", "10::numeric ^ 40", "1.23456789012::numeric"])
def test_a_numeric_that_arrow_has_not_is_told_with_its_column(bench: TaskBench, value: str) -> None:
    with pytest.raises(DataError, match="^column 'v' has a value that is no decimal"):
        collect(bench, query=f"SELECT {value} AS v")


def test_a_query_may_end_with_a_comment(bench: TaskBench) -> None:
    query = "SELECT tail FROM plane -- all of them"
    cursor = {"column": "tail", "start": "N1"}
    assert collect(bench, query=query, cursor=cursor).rows.out == 2


MANY = """
CREATE TABLE many AS SELECT n, n % 3 = 0 AS odd, n::smallint AS s, n::bigint * 1000000000 AS b, n / 7::real AS r,
    CASE n WHEN 4 THEN 'NaN' WHEN 5 THEN 'infinity' ELSE n / 7::double precision END AS d,
    CASE WHEN n % 5 > 0 THEN 'wörd ' || n END AS t, n::text::char(6) AS c, n::text::varchar AS v, n::text::bytea AS y,
    CASE n WHEN 1 THEN '0001-01-01' WHEN 2 THEN '9999-12-31' WHEN 3 THEN NULL ELSE date '2013-01-01' + n END AS day,
    CASE n WHEN 1 THEN '23:59:59.999999' ELSE time '00:00' + n * interval '1 s' END AS at,
    CASE n WHEN 1 THEN '0001-01-01' WHEN 2 THEN '9999-12-31 23:59:59.999999'
        ELSE timestamp '2013-01-01' + n * interval '1 min' END AS local,
    CASE n WHEN 1 THEN '0001-01-01Z' WHEN 2 THEN '9999-12-31 23:59:59.999999Z'
        ELSE timestamptz '2013-01-01Z' - n * interval '1 h' END AS moment, NULL::integer AS none
FROM generate_series(0, 29999) AS n
"""


@pytest.fixture
def many(fleet: Database) -> Database:
    """A table of every type that goes both ways, with the least and the greatest of each."""
    with psycopg.connect(fleet.superuser) as connection:
        connection.execute(MANY)
    return fleet


@pytest.mark.usefixtures("many")
def test_many_rows_are_the_same_by_either_way(bench: TaskBench) -> None:
    """By ADBC, and by way of Python's values where one is bound."""
    direct = bench.table(collect(bench, query="SELECT * FROM many ORDER BY n"))
    query = "SELECT * FROM many WHERE {{ params.all }} = 1 ORDER BY n"
    bound = bench.table(collect(bench, query=query, values={"params.all": 1}))
    assert direct.num_rows == 30_000
    assert direct.schema == bound.schema
    for name in direct.schema.names:
        assert direct[name].to_pandas().equals(bound[name].to_pandas()), name


@pytest.mark.usefixtures("many")
def test_many_rows_of_other_types_are_there_too(bench: TaskBench) -> None:
    table = bench.table(collect(bench, query="SELECT n, n::numeric(9, 2) AS price FROM many"))
    assert table["price"].to_pylist()[7] == decimal.Decimal("7.00")


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    "value",
    [
        "'infinity'::timestamptz", "'-infinity'::timestamp", "'294276-12-31'::timestamp", "'infinity'::date",
        "'5874897-12-31'::date", "'0044-03-15 BC'::date", "'24:00'::time", "'10000-01-01'::date",
    ],
)  # fmt: skip
def test_among_many_too_what_arrow_cannot_hold_is_told(bench: TaskBench, value: str) -> None:
    query = f"SELECT CASE WHEN n = 20000 THEN {value} END AS v FROM many"
    with pytest.raises(DataError, match="column 'v' has a value that is no"):
        collect(bench, query=query)


@pytest.mark.usefixtures("many")
def test_what_the_database_says_in_the_midst_of_many(bench: TaskBench) -> None:
    with pytest.raises(FatalError, match="refuses the query: .*division by zero") as told:
        collect(bench, query="SELECT 1 / (20000 - n) AS v FROM many")
    assert "SELECT" not in str(told.value)
    ends = "SELECT CASE n WHEN 20000 THEN pg_terminate_backend(pg_backend_pid()) END AS v FROM many"
    with pytest.raises(RetryableError, match="does not go on"):
        collect(bench, query=ends)


@pytest.mark.usefixtures("many")
def test_colons_percents_and_comments_are_what_they_are_among_many(bench: TaskBench) -> None:
    query = "SELECT '%s %% :x' AS v, n % 2 AS w, n::text AS x FROM many -- all of them"
    assert bench.table(collect(bench, query=query)).slice(3, 1).to_pylist() == [
        {"v": "%s %% :x", "w": 1, "x": "3"}
    ]


def test_many_rows_are_streamed(bench: TaskBench) -> None:
    report = collect(bench, query="SELECT n, n::text AS word FROM generate_series(1, 120000) AS n")
    assert report.rows.out == 120_000


LIMITS = (
    "SELECT current_setting('lock_timeout') AS lock, current_setting('statement_timeout') AS rows"
)


@pytest.mark.parametrize(("rows", "of_rows"), [(1, "1h"), (20_000, "0")])
def test_a_query_is_bounded_in_what_it_waits_for(bench: TaskBench, rows: int, of_rows: str) -> None:
    """Many rows come by COPY, one statement to its end: no limit is on that."""
    found = bench.table(collect(bench, query=f"{LIMITS} FROM generate_series(1, {rows})"))
    assert found.num_rows == rows
    assert found.slice(0, 1).to_pylist() == [{"lock": "30s", "rows": of_rows}]


def test_limits_that_are_there_already_stay(
    bench: TaskBench, fleet: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "options=-c%20lock_timeout%3D7s%20-c%20statement_timeout%3D5min"
    url = f"{fleet.superuser}{'&' if '?' in fleet.superuser else '?'}{own}"
    monkeypatch.setenv("ROPEWALK_CONNECTION_FLEET", url)
    for rows in (1, 20_000):
        found = bench.table(collect(bench, query=f"{LIMITS} FROM generate_series(1, {rows})"))
        assert found.slice(0, 1).to_pylist() == [{"lock": "7s", "rows": "5min"}]


def test_a_lock_is_not_waited_for_without_end(fleet: Database, tmp_path: Path) -> None:
    with psycopg.connect(fleet.superuser) as other:
        other.execute("LOCK TABLE plane IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(RetryableError, match="holds a lock in the database of 'fleet'") as told:
            collect(TaskBench(tmp_path, lock_seconds=0.3), table="plane")
    assert told.value.code == "locked"
    assert "ROPEWALK_LOCK_SECONDS" in str(told.value)


def test_a_query_that_gives_no_rows_is_ended(tmp_path: Path) -> None:
    with pytest.raises(RetryableError, match="'fleet' has ended the query") as told:
        collect(TaskBench(tmp_path, query_seconds=0.3), query="SELECT pg_sleep(600)::text AS n")
    assert told.value.code == "query_timeout"
    assert "ROPEWALK_QUERY_SECONDS" in str(told.value)


def test_a_server_that_has_gone_is_noticed_unless_the_url_says_otherwise() -> None:
    address = "postgresql+psycopg://u@127.0.0.1/x"
    told = _checked(sa.make_url(address), ["127.0.0.1"])
    assert (told["keepalives_idle"], told["tcp_user_timeout"]) == (10, 30_000)
    told = _checked(sa.make_url(f"{address}?keepalives_idle=90"), ["127.0.0.1"])
    assert "keepalives_idle" not in told
    assert _checked(sa.make_url("sqlite:///x.db"), []) == {}


class TestOverlap:
    """Rows that come late, within the overlap, are taken; and each row once."""

    def read(
        self, bench: TaskBench, before: Report | None, **told: Any
    ) -> tuple[Report, list[int]]:
        """Read on from an earlier task: the report, and the numbers of the rows that it took."""
        cursor = {"column": "at", "overlap": "2h"}
        request = bench.request(
            "collect", [("sql", {"connection": "fleet", "table": "event", "cursor": cursor})]
        )
        if before is not None:
            told = {"since": before.watermark, "previous": before.key, **told}
        report = bench.perform(request, **told)
        return report, sorted(bench.table(report)["n"].to_pylist())

    @pytest.fixture
    def happen(self, fleet: Database) -> Any:
        """Has something happen: a number, at an hour of a day."""

        def one(number: int, hour: float) -> None:
            with psycopg.connect(fleet.superuser) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS event (n int, at timestamptz)")
                connection.execute("GRANT SELECT ON event TO PUBLIC")
                connection.execute(
                    "INSERT INTO event VALUES (%s, '2013-01-01 00:00Z'::timestamptz + %s * interval '1h')",
                    [number, hour],
                )

        return one

    def test_a_late_row_is_taken_once(self, bench: TaskBench, happen: Any) -> None:
        for number in range(5):
            happen(number, number)
        first, numbers = self.read(bench, None)
        assert numbers == [0, 1, 2, 3, 4]
        happen(10, 3.5)  # late, within two hours of the last
        happen(11, 1.5)  # too late
        happen(12, 4.0)  # at the very moment of the last
        happen(13, 5.0)
        second, numbers = self.read(bench, first)
        assert numbers == [10, 12, 13]
        assert second.rows.dropped == {"taken before": 2}
        happen(14, 3.5)
        third, numbers = self.read(bench, second)
        assert numbers == [14]
        assert self.read(bench, third)[1] == []

    def test_a_run_that_fails_reads_the_same_again(self, bench: TaskBench, happen: Any) -> None:
        happen(1, 1)
        first, _ = self.read(bench, None)
        happen(2, 2)
        assert self.read(bench, first)[1] == [2]
        assert self.read(bench, first)[1] == [2]

    def test_a_cleared_run_reads_up_to_where_the_next_went_on(
        self, bench: TaskBench, happen: Any
    ) -> None:
        happen(1, 1)
        first, _ = self.read(bench, None)
        happen(2, 2)
        assert self.read(bench, None, until=first.watermark)[1] == [1]

    def test_whole_numbers_may_have_an_overlap_of_a_fraction(
        self, bench: TaskBench, happen: Any
    ) -> None:
        cursor = {"column": "n", "overlap": 1.5}
        use = ("sql", {"connection": "fleet", "query": "SELECT n FROM event", "cursor": cursor})
        happen(1, 1)
        happen(3, 1)
        first = bench.perform(bench.request("collect", [use]))
        happen(2, 1)
        told = {"since": first.watermark, "previous": first.key}
        again = bench.perform(bench.request("collect", [use]), **told)
        assert bench.table(again)["n"].to_pylist() == [2]

    def test_what_no_overlap_can_be_taken_from_is_told(self, bench: TaskBench) -> None:
        cursor = {"column": "tail", "overlap": 5}
        request = bench.request(
            "collect", [("sql", {"connection": "fleet", "table": "plane", "cursor": cursor})]
        )
        with pytest.raises(ConfigError, match="the cursor's values are such as 'N3'") as caught:
            bench.perform(request)
        assert caught.value.hint == "overlap: 2h goes with times, overlap: 100 with numbers"

    @pytest.mark.parametrize("kind", ["date", "text"])
    def test_days_have_an_overlap_of_whole_days(
        self, bench: TaskBench, fleet: Database, kind: str
    ) -> None:
        """A day less twelve hours is the same day: nothing would be read again."""
        with psycopg.connect(fleet.superuser) as connection:
            connection.execute(f"CREATE TABLE event (n int, at {kind})")
            connection.execute("INSERT INTO event VALUES (1, '2013-01-02')")
        cursor = {"column": "at", "overlap": "12h"}
        with pytest.raises(ConfigError, match="from which 12:00:00 cannot be taken") as caught:
            collect(bench, table="event", cursor=cursor)
        assert caught.value.hint == "overlap: 1d goes with days"
        first = collect(bench, table="event", cursor={**cursor, "overlap": "1d"})
        with psycopg.connect(fleet.superuser) as connection:
            connection.execute("INSERT INTO event VALUES (2, '2013-01-02'), (3, '2013-01-01')")
        use = (
            "sql",
            {"connection": "fleet", "table": "event", "cursor": {**cursor, "overlap": "1d"}},
        )
        told = {"since": first.watermark, "previous": first.key}
        assert bench.perform(bench.request("collect", [use]), **told).rows.out == 1

    def test_what_the_task_before_has_seen_must_be_there(
        self, bench: TaskBench, happen: Any
    ) -> None:
        happen(1, 1)
        first, _ = self.read(bench, None)
        for name, _ in list(bench.store.objects.ages(folder(first.key))):
            bench.store.objects.delete(name)
        with pytest.raises(FatalError, match="collected") as caught:
            self.read(bench, first)
        assert "without overlap" in str(caught.value.hint)

    def test_a_task_before_that_had_no_overlap_has_seen_nothing(
        self, bench: TaskBench, happen: Any
    ) -> None:
        happen(1, 1)
        first = collect(bench, table="event", cursor={"column": "at"})
        happen(2, 2)
        assert self.read(bench, first)[1] == [2]


@pytest.mark.parametrize("kind", ["NUMERIC", "numeric(10, 2)"])
def test_a_row_is_known_whatever_types_its_numbers_come_in(
    bench: TaskBench, lite: Callable[[str], None], kind: str
) -> None:
    """SQLite has whole numbers as integers, and a column of them and others comes as floats."""
    lite(
        f"CREATE TABLE event (n int, price {kind}); INSERT INTO event VALUES (1, 10), (2, NULL), (3, 30)"
    )
    use = (
        "sql",
        {"connection": "fleet", "table": "event", "cursor": {"column": "n", "overlap": 5}},
    )
    first = bench.perform(bench.request("collect", [use]))
    lite("INSERT INTO event VALUES (4, 2.5)")
    told = {"since": first.watermark, "previous": first.key}
    second = bench.perform(bench.request("collect", [use]), **told)
    assert (second.rows.out, second.rows.dropped) == (1, {"taken before": 3})


class TestTexts:
    """A cursor of texts goes by their bytes, whatever the order of the database."""

    def read(self, bench: TaskBench, table: str, **told: Any) -> list[str]:
        use = ("sql", {"connection": "fleet", "table": table, "cursor": {"column": "tail"}})
        report = bench.perform(bench.request("collect", [use]), **told)
        return sorted(bench.table(report)["tail"].to_pylist())

    @pytest.mark.parametrize("kind", ["text", "varchar(9)", "word"])
    def test_postgresqls(self, bench: TaskBench, fleet: Database, kind: str) -> None:
        with psycopg.connect(fleet.superuser) as connection:
            if kind == "word":
                connection.execute("CREATE TYPE word AS ENUM ('a2', 'B1', 'b3')")
            elif (found := connection.execute(COLLATIONS).fetchone()) is None:
                pytest.skip("this PostgreSQL has no order but that of bytes")
            else:
                kind += f' COLLATE "{found[0]}"'
            connection.execute(f"CREATE TABLE event (tail {kind})")
            connection.execute("INSERT INTO event VALUES ('B1'), ('a2'), ('b3')")
        assert self.read(bench, "event", since="a2") == ["b3"]
        assert self.read(bench, "event", since="B1", until="a2") == ["a2"]

    @pytest.mark.parametrize(
        ("value", "side"),
        [
            ("'a'::text", 'x COLLATE "C"'),
            ("'a'::varchar(3)", 'x COLLATE "C"'),
            ("'a'::char(3)", 'x COLLATE "C"'),
            ("'a'::name", 'CAST(x AS text) COLLATE "C"'),
            ("1.5", "x"),
            ("1", "x"),
            ("now()", "x"),
            ("current_date", "x"),
        ],
    )
    def test_postgresql_is_told_to_compare_texts_by_bytes_and_nothing_else(
        self, fleet: Database, value: str, side: str
    ) -> None:
        url = fleet.superuser.replace("postgresql://", "postgresql+psycopg://")
        query = f"SELECT {value} AS x".replace(":", r"\:")
        with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
            found, bound = compare.compared(connection, query, {}, "x")
            assert found == side
            assert bound("7") == (decimal.Decimal(7) if value in {"1", "1.5"} else "7")

    def test_sqlites(self, bench: TaskBench, lite: Callable[[str], None]) -> None:
        lite("CREATE TABLE event (tail text COLLATE NOCASE)")
        lite("INSERT INTO event VALUES ('B1'), ('a2'), ('b3')")
        assert self.read(bench, "event", since="a2") == ["b3"]
        assert self.read(bench, "event", since="B1", until="a2") == ["a2"]

    def test_those_of_an_unknown_order_are_refused(
        self, bench: TaskBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compare, "BY_BYTES", {"sqlite"})
        with pytest.raises(ConfigError, match="order postgresql has them is not known") as caught:
            self.read(bench, "plane")
        assert caught.value.hint is not None
        assert collect(bench, table="plane", cursor={"column": "seen"}).rows.out == 3

    @pytest.mark.parametrize("form", ["2013-01-01 {:02}:00:00", "2013-01-01T{:02}:00:00Z"])
    def test_times_kept_as_texts_have_an_overlap(
        self, bench: TaskBench, lite: Callable[[str], None], form: str
    ) -> None:
        lite("CREATE TABLE event (at datetime)")
        lite(f"INSERT INTO event VALUES ('{form.format(5)}')")
        cursor = {"column": "at", "overlap": "2h"}
        use = ("sql", {"connection": "fleet", "table": "event", "cursor": cursor})
        first = bench.perform(bench.request("collect", [use]))
        for hour in (2, 4, 6):
            lite(f"INSERT INTO event VALUES ('{form.format(hour)}')")
        told = {"since": first.watermark, "previous": first.key}
        report = bench.perform(bench.request("collect", [use]), **told)
        assert sorted(bench.table(report)["at"].to_pylist()) == [form.format(4), form.format(6)]
