"""How a SELECT's rows come from those that it reads: certain, or not said."""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ropewalk.contracts.models import RowCounts
from ropewalk.process.shape import _cardinality
from ropewalk.testing.transforms import ProcessBench
from sqlglot import exp

FEW = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FLIGHTS = pa.table({"a": pa.array([1, 1, 2, None], pa.int64()), "b": pa.array([1, 2, 3, 4])})
PLANES = pa.table({"a": pa.array([1, 1], pa.int64())})


def counts(bench: ProcessBench, *queries: str) -> RowCounts:
    tables = {"flights": FLIGHTS}
    if any("planes" in query for query in queries):
        tables["planes"] = PLANES
    return bench.run([("sql", query) for query in queries], tables).rows


@pytest.mark.parametrize(
    ("queries", "cardinality", "of", "dropped"),
    [
        (["SELECT * FROM flights"], "1:1", "flights", {}),
        (["SELECT a, sum(b) OVER (PARTITION BY a) AS s FROM flights"], "1:1", "flights", {}),
        (["SELECT *, (SELECT max(b) FROM flights) AS m FROM flights"], "1:1", "flights", {}),
        (["SELECT * FROM flights WHERE a = 1"], "filter", "flights", {"where": 2}),
        (["SELECT * FROM flights LIMIT 1"], "filter", "flights", {"limit": 3}),
        (["SELECT * FROM flights QUALIFY row_number() OVER (PARTITION BY a ORDER BY b) = 1"], "filter", "flights",
         {"qualify": 1}),
        (["SELECT * FROM flights WHERE a IN (SELECT a FROM planes)"], "filter", "flights", {"where": 2}),
        (["SELECT a, count(*) AS n FROM flights GROUP BY a"], "n:1", "flights", {}),
        (["SELECT DISTINCT a FROM flights"], "n:1", "flights", {}),
        (["SELECT sum(sum(b)) OVER () AS s FROM flights"], "n:1", "flights", {}),
        (["SELECT unnest([a, b]) AS x FROM flights"], "any", None, {}),
        (["SELECT a, b, count(*) AS n FROM flights GROUP BY CUBE (a, b)"], "any", None, {}),
        (["SELECT * FROM flights JOIN planes USING (a)"], "join", None, {}),
        (["SELECT flights.b FROM flights, planes"], "join", None, {}),
        (["SELECT a FROM flights UNION ALL SELECT a FROM flights"], "any", None, {}),
        (["WITH x AS (SELECT * FROM flights) SELECT * FROM x WHERE a = 1"], "any", None, {}),
        (["SELECT * FROM flights WHERE b > 1", "SELECT * FROM this WHERE b < 4"], "filter", "flights", {"where": 2}),
        (["SELECT * FROM flights WHERE b > 3", "SELECT * FROM flights WHERE b < 4"], "filter", "flights",
         {"where": 4}),
        (["SELECT a, sum(b) AS s FROM flights GROUP BY a", "SELECT * FROM this WHERE s > 3"], "n:1", "flights", {}),
        (["SELECT * FROM flights JOIN planes USING (a)", "SELECT * FROM this WHERE b > 1"], "join", None, {}),
    ],
)  # fmt: skip
def test_the_form_of_a_query_says_how_its_rows_come(
    bench: ProcessBench, queries: list[str], cardinality: str, of: str | None, dropped: dict[str, int]
) -> None:  # fmt: skip
    rows = counts(bench, *queries)
    assert (rows.cardinality, rows.of, rows.dropped) == (cardinality, of, dropped)
    assert not rows.unexplained


def test_what_is_dropped_beside_the_way_is_no_part_of_the_equation(bench: ProcessBench) -> None:
    do = [
        ("filter", {"where": "a = 1", "of": "planes"}),
        ("deduplicate", {"by": ["a"], "of": "planes"}),
        ("filter", {"where": "b > 1", "of": "flights"}),
    ]
    rows = bench.run(do, {"flights": FLIGHTS, "planes": PLANES}).rows
    assert rows.dropped_of == {"planes": {"filter": 0, "deduplicate": 1}, "flights": {"filter": 1}}
    assert (rows.of, rows.came, rows.lost, rows.out, rows.unexplained) == ("flights", 4, 1, 3, 0)


def test_whatever_makes_one_row_of_many_in_this_duckdb_is_not_taken_for_one_to_one() -> None:
    found = duckdb.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
    ).fetchall()
    names = [name for (name,) in found if re.fullmatch("[a-z_0-9]+", name)]
    assert len(names) > 50
    for name in names:
        for arguments in ("x", "x, y", "x, y, 1", "DISTINCT x", "x ORDER BY y", ""):
            try:
                query = sqlglot.parse_one(f"SELECT {name}({arguments}) FROM t", dialect="duckdb")
            except sqlglot.ParseError:
                continue
            assert isinstance(query, exp.Select)
            assert _cardinality(query) != "1:1", query.sql()


ROWS = st.lists(
    st.fixed_dictionaries({"a": st.integers(0, 3), "b": st.integers(0, 3)}), max_size=12
)


@FEW
@given(rows=ROWS, least=st.integers(0, 3), by=st.sampled_from([["a"], ["b"], ["a", "b"]]))
def test_every_row_is_explained_whatever_the_rows(
    bench: ProcessBench, rows: list[dict[str, int]], least: int, by: list[str]
) -> None:
    table = pa.Table.from_pylist(rows, pa.schema([("a", pa.int64()), ("b", pa.int64())]))
    do = [("sql", f"SELECT * FROM t WHERE a >= {least}"), ("deduplicate", by)]
    checks = [("between", {"column": "b", "max": 2, "on_fail": "quarantine"})]
    counted = bench.run(do, {"t": table}, checks=checks).rows
    kept = {tuple(row[name] for name in by) for row in rows if row["a"] >= least}
    assert counted.unexplained == 0
    assert counted.out + counted.quarantined == len(kept)
