"""Column-level lineage, from the SQL."""

from __future__ import annotations

import pytest
from ropewalk.testing.transforms import ProcessBench, Step, tables

INPUTS = tables(
    {
        "f": [{"o": "E", "d": 1, "t": "a"}],
        "w": [{"o": "E", "wind": 1.0}],
        "p": [{"t": "a", "seats": 2}],
    }
)
CASES: list[tuple[list[Step], dict[str, list[str]]]] = [
    (
        [("sql", "SELECT f.*, w.wind, seats * 2 AS s FROM f LEFT JOIN w USING (o) LEFT JOIN p USING (t)")],
        {"o": ["f.o"], "d": ["f.d"], "t": ["f.t"], "wind": ["w.wind"], "s": ["p.seats"]},
    ),
    (
        [("sql", "SELECT o, count(*) AS n, avg(d) AS m FROM f GROUP BY o"), ("sql", "SELECT n + m AS x FROM this")],
        {"x": ["f.d"]},
    ),
    ([("sql", "SELECT d AS x FROM f UNION ALL SELECT seats FROM p")], {"x": ["f.d", "p.seats"]}),
    (
        [("sql", "WITH a AS (SELECT o AS k, d FROM f) SELECT b.k, b.d + wind AS v FROM a AS b JOIN w ON w.o = b.k")],
        {"k": ["f.o"], "v": ["f.d", "w.wind"]},
    ),
    ([("sql", "SELECT u.x FROM f, unnest([d, 2]) AS u(x)")], {"x": ["f.d"]}),
    (
        [("rename", {"columns": {"d": "delay"}, "of": "f"}), ("fill", {"columns": {"delay": 0}}),
         ("aggregate", {"by": ["o"], "columns": {"n": "sum(delay)"}})],
        {"o": ["f.o"], "n": ["f.d"]},
    ),
    ([("sql", "SELECT COLUMNS(*) FROM p")], {"t": ["p.t"], "seats": ["p.seats"]}),
]  # fmt: skip


@pytest.mark.parametrize(("do", "expected"), CASES)
def test_every_column_names_what_it_is_made_from(
    bench: ProcessBench, do: list[Step], expected: dict[str, list[str]]
) -> None:
    report = bench.run(do, INPUTS)
    found = {
        column: [f"{source.dataset}.{source.column}" for source in sources]
        for column, sources in report.lineage.columns.items()
    }
    assert found == expected
