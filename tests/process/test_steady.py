"""Aggregates of floating-point numbers give the same digits for every order of the rows."""

from __future__ import annotations

import pytest
from ropewalk.process.relations import Relation
from ropewalk.process.steady import steady
from ropewalk.testing.transforms import ProcessBench, tables
from sqlglot import exp, parse_one

ROWS = [{"n": i, "x": (i * 7919 % 3001) ** 3 / 7, "y": i / 7} for i in range(3000)]
RELATION = Relation("t", "t", {"n": "BIGINT", "d": "DECIMAL(9,2)", "x": "DOUBLE"})


@pytest.mark.parametrize(
    ("query", "steadied"),
    [
        ("SUM(x)", "SUM(x ORDER BY x)"),
        ("AVG(x) FILTER(WHERE n > 1)", "AVG(x ORDER BY x) FILTER(WHERE n > 1)"),
        ("AVG(n / 2)", "AVG(n / 2 ORDER BY n / 2)"),
        ("AVG(n * 0.5)", "AVG(n * 0.5 ORDER BY n * 0.5)"),
        ("STDDEV(n)", "STDDEV(n ORDER BY n)"),
        ("CORR(x, n)", "CORR(x, n ORDER BY x, n)"),
        ("AVG(n)", "AVG(n)"),
        ("SUM(d + n * 2)", "SUM(d + n * 2)"),
        ("SUM(CASE WHEN n > 1 THEN 1 ELSE 0 END)", "SUM(CASE WHEN n > 1 THEN 1 ELSE 0 END)"),
        ("SUM(x) OVER (PARTITION BY n)", "SUM(x) OVER (PARTITION BY n)"),
        ("SUM(x ORDER BY n)", "SUM(x ORDER BY n)"),
        ("COUNT(x), MAX(x)", "COUNT(x), MAX(x)"),
    ],
)  # fmt: skip
def test_what_could_differ_is_ordered_and_nothing_else(query: str, steadied: str) -> None:
    parsed = parse_one(f"SELECT {query} FROM t", dialect="duckdb", into=exp.Select)
    assert steady(parsed, [RELATION]).sql("duckdb") == f"SELECT {steadied} FROM t"


def test_a_name_of_the_querys_own_is_not_the_columns() -> None:
    parsed = parse_one(
        "WITH a AS (SELECT x AS n FROM t) SELECT SUM(n) FROM a", dialect="duckdb", into=exp.Select
    )
    assert steady(parsed, [RELATION]).sql("duckdb").endswith("SELECT SUM(n ORDER BY n) FROM a")


def test_the_same_rows_in_any_order_give_the_same_content(bench: ProcessBench) -> None:
    query = "SELECT n % 7 AS g, sum(x) AS s, avg(y) AS a, stddev(x) AS d, corr(x, y) AS c FROM rows GROUP BY ALL"
    shuffled = sorted(ROWS, key=lambda row: row["n"] * 7919 % 3001)
    found = {
        bench.run([("sql", query)], tables({"rows": rows})).outputs["data"].fingerprint
        for rows in (ROWS, ROWS[::-1], shuffled)
    }
    assert len(found) == 1
