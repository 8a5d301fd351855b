"""Names of columns, tables and schemas are names in PostgreSQL, whatever they look like: to write and to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql
from ropewalk.contracts.errors import RopewalkError
from ropewalk.testing.bench import TaskBench

from tests.conftest import Database

DROP = "DROP TABLE canary"
NAMES = [
    f'x"; {DROP}; --', f"x'; {DROP}; --", f'x")); {DROP}; --', f"x`; {DROP}; --", f"x]; {DROP}; --",
    f"x; {DROP}", f"*/ {DROP}; /*", f"$$; {DROP}; $$", f'x\\"; {DROP}; --', f'"; {DROP}; --', f"'; {DROP}; --",
    'x""; SELECT 1; --', '"', "'", '""', "''", "%s", "%(x)s", "%", ":x", "::x", "?", "$1", "{x}", "{0}", "*",
    "count(*)", "x, (SELECT 1)", "1 OR 1=1", "x UNION SELECT 1", "E'\\x27'", "U&'\\0027'", "select", "x -- y",
    "x /* y", "x\\", "\\",
]  # fmt: skip
DATA = pa.table({name: pa.array([n, n + 1], pa.int64()) for n, name in enumerate(NAMES)})


@pytest.fixture
def session(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psycopg.Connection[Any]]:
    """A session of the superuser with the results; three rows are in a table that nobody may touch."""
    url = database.stage("store")
    for name in ("RESULTS", "HERE"):
        monkeypatch.setenv(f"ROPEWALK_CONNECTION_{name}", url)
    with psycopg.connect(database.superuser, autocommit=True) as one:
        one.execute("CREATE TABLE public.canary AS SELECT n FROM generate_series(1, 3) AS n")
        one.execute("ALTER TABLE public.canary OWNER TO ropewalk_store")  # so that it could
        one.execute("GRANT USAGE ON SCHEMA public TO ropewalk_store")
        before = catalog(one)
        yield one
        assert one.execute("SELECT count(*) FROM public.canary").fetchone() == (3,)
        assert {name for name in before if name not in catalog(one)} == set()


def catalog(session: psycopg.Connection[Any]) -> set[tuple[str, str]]:
    """All tables of the database."""
    query = (
        "SELECT schemaname::text, tablename::text FROM pg_tables WHERE schemaname NOT LIKE 'pg\\_%'"
    )
    return set(session.execute(query).fetchall())


def count(session: psycopg.Connection[Any], *name: str) -> Any:
    """The rows of a table."""
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*name))
    return (session.execute(query).fetchone() or (None,))[0]


@pytest.fixture
def bench(tmp_path: Path) -> TaskBench:
    """The stages."""
    return TaskBench(tmp_path, private_hosts="127.0.0.1")


@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_names_of_columns(bench: TaskBench, session: psycopg.Connection[Any], mode: str) -> None:
    options = {"schema": "out", "mode": mode, **({"key": NAMES[:3]} if mode == "upsert" else {})}
    for requested in (1, 2):
        do = [("postgres", options)]
        bench.run("store", do, inputs={"days": DATA}, requested=requested, generation="same")
    found = session.execute("SELECT * FROM out.days ORDER BY 1")
    names = [column.name for column in found.description or ()]
    assert [name for name in names if not name.startswith("_ropewalk")] == NAMES
    rows = [row[: len(NAMES)] for row in found]
    assert rows == [tuple(range(len(NAMES))), tuple(range(1, len(NAMES) + 1))]
    assert catalog(session) >= {("out", "days")}


def test_names_of_tables_and_schemas(bench: TaskBench, session: psycopg.Connection[Any]) -> None:
    """Each is taken as it is, or refused before anything was done."""
    before, published = catalog(session), 0
    for name in NAMES:
        for options, where in (
            ({"schema": "out", "tables": {"days": name}}, ("out", name)),
            ({"schema": name}, (name, "days")),
        ):
            do = [("postgres", {"mode": "replace", **options})]
            try:
                bench.run("store", do, inputs={"days": pa.table({"n": [1]})})
            except RopewalkError:
                assert where not in catalog(session)
            else:
                published += 1
                assert count(session, *where) == 1
    new = {table for table in catalog(session) - before if table[0] != "ropewalk"}
    assert len(new) == published


def test_names_of_a_source(bench: TaskBench, session: psycopg.Connection[Any]) -> None:
    session.execute("CREATE SCHEMA there AUTHORIZATION ropewalk_store; SET ROLE ropewalk_store")
    wrong = []
    for n, name in enumerate(NAMES):
        table = sql.Identifier("there", name)
        made = sql.SQL("CREATE TABLE {} AS SELECT {} AS {}")
        session.execute(made.format(table, sql.Literal(n), sql.Identifier(name)))
        options = {
            "connection": "here",
            "table": f"there.{name}",
            "cursor": {"column": name, "start": -1},
        }
        try:
            report = bench.run("collect", [("sql", options)], step=f"s{n}")
            if bench.table(report).to_pydict() != {name: [n]}:
                wrong.append((name, "other rows"))
        except RopewalkError as error:
            wrong.append((name, str(error)))
    session.execute("RESET ROLE")
    assert wrong == [], "\n".join(map(str, wrong))


@pytest.mark.usefixtures("session")
def test_values_of_a_source_are_bound(bench: TaskBench) -> None:
    query = "SELECT CAST({{ params.x }} AS text) AS x, ':y' AS colon, '%s' AS percent"
    for value in NAMES:
        do = [("sql", {"connection": "here", "query": query})]
        report = bench.run("collect", do, values={"params.x": value})
        assert bench.table(report).to_pylist() == [{"x": value, "colon": ":y", "percent": "%s"}]
