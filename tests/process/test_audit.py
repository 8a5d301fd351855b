"""Several checks over one result: one pass, each row on one side."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ropewalk.contracts.errors import ConfigError, DataError
from ropewalk.testing.checks import SAME
from ropewalk.testing.transforms import ProcessBench, in_order, tables

FEW = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CELLS = st.one_of(st.none(), st.integers(-3, 3))
ROWS = st.lists(st.fixed_dictionaries({"a": CELLS, "b": CELLS, "c": st.just("x")}), min_size=1)
CHECKS = [
    ("unique", {"columns": ["a"], "on_fail": "quarantine"}),
    ("not_null", {"columns": ["a"], "on_fail": "quarantine"}),
    ("between", {"column": "b", "min": 0, "on_fail": "quarantine"}),
    ("sql", {"query": "a <> b", "on_fail": "warn"}),
]


@FEW
@given(rows=ROWS)
def test_good_and_quarantine_are_all_rows_each_once(
    bench: ProcessBench, rows: list[dict[str, Any]]
) -> None:
    rows = [{"a": 0, "b": 0, "c": "x"}, *rows]  # so that the columns have a type
    report = bench.run([SAME], tables({"rows": rows}), checks=CHECKS)
    good, aside = (
        bench.rows(report),
        bench.rows(report, "quarantine") if report.rows.quarantined else [],
    )
    assert in_order(good + [json.loads(one["row"]) for one in aside]) == in_order(rows)
    kept = [row["a"] for row in good]
    assert None not in kept
    assert len(set(kept)) == len(kept)
    assert all(row["b"] is None or row["b"] >= 0 for row in good)
    assert report.checks[3].failed == sum(
        row["b"] is not None and row["a"] == row["b"] for row in good
    )
    assert set(kept) == {
        r["a"] for r in rows if r["a"] is not None and (r["b"] is None or r["b"] >= 0)
    }


def test_a_row_is_set_aside_by_the_first_check_that_it_fails(bench: ProcessBench) -> None:
    rows: list[dict[str, Any]] = [
        {"a": 1, "b": 1},
        {"a": None, "b": -5},
        {"a": 1, "b": 2},
        {"a": 1, "b": -7},
    ]
    report = bench.run([SAME], tables({"rows": rows}), checks=CHECKS[:3])
    assert bench.rows(report) == [{"a": 1, "b": 1}]
    assert [(r["rule"], r["column"], r["reason"]) for r in bench.rows(report, "quarantine")] == [
        ("not_null", "a", "a is null"),
        ("unique", "a", "another row has the same a"),
        ("between", "b", "b is -7, not at least 0"),
    ]
    assert [(c.check, c.status, c.failed, c.detail) for c in report.checks] == [
        ("unique", "quarantined", 1, "1 of 4 rows: a unique; for example 1"),
        ("not_null", "quarantined", 1, "1 of 4 rows: a not null"),
        ("between", "quarantined", 1, "1 of 4 rows: b at least 0; for example -7"),
    ]


def test_checks_that_fail_judge_only_what_goes_on(bench: ProcessBench) -> None:
    rows = [{"a": 1, "b": 1}, {"a": 1, "b": -5}, {"a": 2, "b": 2}]
    checks = [("unique", ["a"]), ("row_count", {"min": 2, "max": 2}), CHECKS[2]]
    report = bench.run([SAME], tables({"rows": rows}), checks=checks)
    assert [c.status for c in report.checks] == ["passed", "passed", "quarantined"]


def test_too_many_rows_in_quarantine_stop_the_publication(bench: ProcessBench) -> None:
    rows = tables({"rows": [{"a": 1, "b": 1}, {"a": 1, "b": -5}]})
    with pytest.raises(
        DataError, match="1 of 2 rows are in quarantine: more than max_quarantined 10%"
    ):
        bench.run([SAME], rows, checks=[CHECKS[2]], max_quarantined="10%")


def test_a_column_may_have_the_pass_own_names(bench: ProcessBench) -> None:
    rows: list[dict[str, Any]] = [
        {"rule": 1, "reason": "x", "row": "y", "fails_0": None},
        {"rule": None, "reason": "", "row": "", "fails_0": 1},
    ]
    checks = [
        ("not_null", {"columns": ["rule"], "on_fail": "quarantine"}),
        ("not_null", {"columns": ["fails_0"], "on_fail": "warn"}),
    ]
    report = bench.run([SAME], tables({"rows": rows}), checks=checks)
    assert bench.rows(report) == rows[:1]
    assert [c.failed for c in report.checks] == [1, 1]


def test_the_key_of_a_unique_check_may_be_an_instant(bench: ProcessBench) -> None:
    query = "SELECT TIMESTAMPTZ '2013-01-01 05:00:00Z' AS at, a FROM rows"
    report = bench.run(
        [("sql", query)], tables({"rows": [{"a": 1}, {"a": 2}]}),
        checks=[("unique", {"columns": ["at"], "on_fail": "warn"}),
                ("between", {"column": "at", "max": "2012-01-01", "on_fail": "quarantine"})],
    )  # fmt: skip
    assert [c.detail for c in report.checks] == [
        "at unique",
        "2 of 2 rows: at at most 2012-01-01; for example 2013-01-01 05:00:00.000000Z",
    ]


def test_a_checks_sql_is_refused_before_anything_runs(bench: ProcessBench) -> None:
    do = [("sql", "SELECT CAST(s AS INTEGER) AS n FROM rows")]
    with pytest.raises(ConfigError) as caught:
        bench.run(do, tables({"rows": [{"s": "x"}]}), checks=[("sql", "SELECT m FROM this")])
    assert str(caught.value) == "made has no column 'm' (valid: n)"
