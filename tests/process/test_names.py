"""The columns that a query gives and misses, as far as they are told, are those that DuckDB finds."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import hypothesis.strategies as st
import pytest
import sqlglot
from hypothesis import given
from ropewalk.contracts.columns import fold
from ropewalk.process.names import Known, Missing, Names

TABLES = {
    "t": "a INT, b INT, k INT, l INT[], s STRUCT(x INT, y STRUCT(z INT)), m MAP(VARCHAR, INT), d DATE",
    "u": "k INT, y INT, a INT, w VARCHAR",
}
KNOWN = {
    "t": Known("t", ("a", "b", "k", "l", "s", "m", "d")),
    "u": Known("u", ("k", "y", "a", "w")),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the two tables."""
    with duckdb.connect() as connection:
        for name, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {name} ({columns})")
        yield connection


def found(engine: duckdb.DuckDBPyConnection, query: str) -> list[str] | None:
    """The columns that DuckDB finds; None where it refuses the query."""
    try:
        return [row[0] for row in engine.execute(f"DESCRIBE {query}").fetchall()]
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
        return None


def told(query: str) -> tuple[list[str] | None, Missing | None]:
    """What is told without it."""
    tree = sqlglot.parse_one(query, dialect="duckdb")
    assert isinstance(tree, sqlglot.exp.Query)
    names = Names(tree, KNOWN)
    return None if names.given is None else list(names.given), names.missing()


def agree(engine: duckdb.DuckDBPyConnection, query: str) -> None:
    """What DuckDB accepts is not refused, and gives the columns that were told, if any were."""
    columns = found(engine, query)
    given, missing = told(query)
    if columns is None:
        return
    assert missing is None, (query, missing)
    if given is not None:
        assert [fold(name) for name in given] == [fold(name) for name in columns], query


ACCEPTED = """
SELECT list_transform(l, lambda x: x + a) AS q FROM t
SELECT list_reduce(l, lambda x, y: x + y) AS q FROM t
SELECT [x * 2 FOR x IN l IF x > 1] AS q FROM t
SELECT a AS b FROM t ORDER BY ALL
SELECT a, count(*) FROM t GROUP BY ALL
SELECT struct_pack(k := a) AS q, {'j': a} AS r, row(a, b) AS v FROM t
SELECT current_role, user, localtime, rowid, t.rowid FROM t
SELECT s.x, s.y.z, t.s.y.z, s['x'], (s).x AS q FROM t
SELECT t.* EXCLUDE (a) FROM t
SELECT * EXCLUDE (a, b), a + b AS c FROM t
SELECT * REPLACE (a + 1 AS a) FROM t
SELECT * RENAME (a AS z) FROM t
SELECT COLUMNS('a.*') FROM t
SELECT min(COLUMNS(*)) FROM u
SELECT * LIKE 'a%' FROM t
SELECT unnest(s) FROM t
SELECT unnest(l) AS o, a FROM t
SELECT s.* FROM t
SELECT u.x FROM t, unnest(t.l) AS u(x)
SELECT o FROM t CROSS JOIN unnest(l) AS q(o)
SELECT x FROM (SELECT unnest(l) AS x FROM t)
SELECT * FROM unnest([1, 2]) AS q(o)
SELECT b, (SELECT max(y) FROM u WHERE u.k = t.k) AS m FROM t
FROM t SELECT a
FROM t WHERE a > 1
SELECT x: a, y: x + 1 FROM t
SELECT * FROM t JOIN u USING (k)
SELECT * FROM t JOIN u USING (k) JOIN u AS v USING (k)
SELECT * FROM t FULL JOIN u USING (k, a)
SELECT * FROM t NATURAL JOIN u
SELECT * FROM t SEMI JOIN u USING (k)
SELECT * FROM t ANTI JOIN u ON t.k = u.k
SELECT a FROM t SEMI JOIN u ON t.k = u.k AND u.y = t.a
SELECT * FROM t ASOF JOIN u ON t.k >= u.k
SELECT * FROM t POSITIONAL JOIN u
SELECT q.* FROM t AS q JOIN u USING (k)
SELECT u.*, t.* FROM t JOIN u USING (k)
SELECT a, k FROM t UNION ALL BY NAME SELECT k, y FROM u
SELECT a FROM t UNION SELECT y FROM u ORDER BY a
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r
WITH RECURSIVE r AS (SELECT k, a FROM t UNION ALL SELECT r.k, r.a + 1 FROM r JOIN u ON u.k = r.k) SELECT k FROM r
WITH c(x, y) AS (SELECT a, b FROM t) SELECT x, y FROM c
WITH c AS (SELECT a, b FROM t) SELECT x FROM c AS z(x)
SELECT * FROM (VALUES (1, 2)) AS v(x, y)
SELECT col0 FROM (VALUES (1, 2))
SELECT z, b FROM t AS q(z)
SELECT T.A, "A" FROM t
SELECT t AS r, to_json(t) AS j FROM t
SELECT extract('epoch' FROM d) AS e, date_part('year', d) AS y FROM t
SELECT d + INTERVAL '1' DAY AS e, d + INTERVAL (a) DAY AS f FROM t
SELECT row_number() OVER w AS n FROM t WINDOW w AS (PARTITION BY a)
SELECT a FROM t WINDOW w AS (ORDER BY unused_and_so_not_looked_for)
SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY b) = 1
SELECT a AS z, z + 1 AS c FROM t WHERE z > 1 GROUP BY a HAVING z > 1 ORDER BY z
SELECT DISTINCT ON (k) a FROM t ORDER BY d
SELECT sum(a) OVER (PARTITION BY k ORDER BY d) AS r FROM t
SELECT max(a) FILTER (b > 1) AS m, list(a ORDER BY b DESC) AS n, arg_max(a, b) AS o FROM t
SELECT grouping(a) AS g FROM t GROUP BY ROLLUP (a)
SELECT a FROM t GROUP BY GROUPING SETS ((a), ())
SELECT a FROM t WHERE (a, b) IN (SELECT k, y FROM u)
SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND w = 'x' AND b > 1)
SELECT a FROM t WHERE a = ANY (SELECT y FROM u WHERE b = y)
SELECT * FROM t, (SELECT t.a + 1 AS p)
SELECT p FROM t, LATERAL (SELECT a + 1 AS p)
SELECT (SELECT p FROM (SELECT a AS p)) AS o FROM t
SELECT * FROM t PIVOT (sum(a) FOR b IN (1, 2))
SELECT * FROM (PIVOT t ON k USING sum(b))
SELECT * FROM (UNPIVOT t ON a, b)
SELECT * FROM (t JOIN u USING (k))
SELECT * FROM t, t AS t2
SELECT a FROM t USING SAMPLE 10%
SELECT i FROM range(3) AS r(i)
SELECT range FROM range(3)
SELECT map_extract(m, 'x') AS e, m['x'] AS f FROM t
SELECT a.x FROM (SELECT s AS a FROM t)
SELECT c.x FROM (SELECT s AS c, 1 AS d FROM t) AS c
SELECT * FROM t WHERE a IN (SELECT a FROM t UNION SELECT k FROM u)
SELECT * REPLACE (1 AS k) FROM t AS p JOIN t AS j ON p.k = j.k
WITH unused AS (SELECT nope FROM t) SELECT a FROM t
""".strip().splitlines()


@pytest.mark.parametrize("query", ACCEPTED)
def test_what_duckdb_accepts_is_not_refused(engine: duckdb.DuckDBPyConnection, query: str) -> None:
    assert found(engine, query) is not None
    agree(engine, query)


REFUSED = {
    "SELECT nope FROM t": "nope",
    "SELECT t.nope FROM t": "nope",
    "SELECT nope.a FROM t": "nope",
    "SELECT w FROM t": "w",
    "SELECT a FROM t WHERE nope IS NULL": "nope",
    "SELECT a FROM t GROUP BY nope": "nope",
    "SELECT a FROM t ORDER BY nope": "nope",
    "SELECT a FROM t QUALIFY row_number() OVER (ORDER BY nope) = 1": "nope",
    "SELECT a FROM t JOIN u ON t.k = u.nope": "nope",
    "SELECT y FROM t JOIN u USING (nope)": "nope",
    "SELECT y FROM t JOIN u USING (b)": "b",
    "SELECT y FROM t JOIN u USING (y)": "y",
    "SELECT * EXCLUDE (nope) FROM t": "nope",
    "SELECT * REPLACE (nope AS a) FROM t": "nope",
    "SELECT a FROM t WHERE k IN (SELECT zz FROM u)": "zz",
    "SELECT * FROM (SELECT a, b AS c FROM t) AS q WHERE q.b > 2": "b",
    "SELECT * FROM (SELECT * FROM t) WHERE nope = 1": "nope",
    "WITH c AS (SELECT a FROM t) SELECT b FROM c": "b",
    "WITH c AS (SELECT a FROM t), d AS (SELECT a, nope FROM c) SELECT * FROM d": "nope",
    "WITH c(x, y) AS (SELECT a, b FROM t) SELECT a FROM c": "a",
    "SELECT a FROM t AS q(z)": "a",
    "SELECT a FROM t UNION ALL SELECT nope FROM u": "nope",
    "SELECT sum(a) AS s FROM (SELECT a AS x FROM t UNION ALL SELECT y FROM u)": "a",
    "SELECT list_transform(l, lambda x: x + nope) AS q FROM t": "nope",
    "SELECT CASE WHEN a > 1 THEN nope END AS x, nopes FROM t": "nope",
}


@pytest.mark.parametrize("query", REFUSED)
def test_the_first_name_that_nothing_has_is_told(
    engine: duckdb.DuckDBPyConnection, query: str
) -> None:
    assert found(engine, query) is None
    missing = told(query)[1]
    assert missing is not None
    assert missing.node.name == REFUSED[query]


NAME = st.sampled_from(["a", "k"] * 4 + ["b", "y", "z", "A"])
ALIAS = st.sampled_from(["p", "q"])
SIDE = st.sampled_from(["", "LEFT ", "SEMI ", "ANTI ", "FULL "])
ON = st.sampled_from(["USING (k)", "USING (k, a)", "ON p.k = j.k"])
STAR = st.sampled_from(["*", "* EXCLUDE (a)", "p.*", "* REPLACE (1 AS k)"])
VALUE = st.builds(
    str.format, st.sampled_from(["{0}", "p.{0}", "coalesce({0}, 1)", "p.{0} + 1"]), NAME
)
ITEM = STAR | VALUE | st.builds("{} AS {}".format, VALUE, NAME)


@st.composite
def queries(draw: st.DrawFn, depth: int = 1) -> str:
    """A SELECT with joins, subqueries, stars and aliases; some of its columns are not there."""
    query = f"SELECT {', '.join(draw(st.lists(ITEM, min_size=1, max_size=2)))}"
    query += f" FROM {draw(_tables(depth))} AS p"
    if draw(st.booleans()):
        query += f" {draw(SIDE)}JOIN {draw(_tables(depth))} AS j {draw(ON)}"
    conditions = [f"{value} IS NOT NULL" for value in draw(st.lists(VALUE, max_size=1))]
    if depth and draw(st.booleans()):
        conditions.append(f"EXISTS ({draw(queries(depth - 1))})")
    if conditions:
        query += f" WHERE {' AND '.join(conditions)}"
    more = draw(st.sampled_from(["", "", " ORDER BY {}", " UNION ALL BY NAME SELECT {} FROM u"]))
    return query + more.format(draw(NAME))


def _tables(depth: int) -> st.SearchStrategy[str]:
    plain = st.sampled_from(["t", "u"])
    return plain if depth == 0 else plain | queries(depth - 1).map("({})".format)


@given(queries())
def test_whatever_duckdb_accepts_is_not_refused(
    engine: duckdb.DuckDBPyConnection, query: str
) -> None:
    agree(engine, query)


@given(queries(), queries())
def test_common_table_expressions_too(
    engine: duckdb.DuckDBPyConnection, inner: str, outer: str
) -> None:
    agree(engine, f"WITH r AS ({inner}), s AS ({outer}) SELECT a, * FROM r, S")
    agree(engine, f"WITH t AS ({inner}) {outer}")
