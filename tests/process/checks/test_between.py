"""The check between."""

from __future__ import annotations

from pathlib import Path

from ropewalk.testing.checks import CheckSuite
from ropewalk.testing.transforms import ProcessBench, Step, tables


class TestBetween(CheckSuite):
    name = "between"
    options = {"column": "delay", "min": -120, "max": 2000}
    good = [{"delay": -120}, {"delay": 2000}, {"delay": None}]
    bad = [{"delay": -130}, {"delay": 2001}]
    detail = "2 of 5 rows: delay between -120 and 2000; smallest -130, largest 2001"
    wrong = {"column": "dellay", "min": 1}
    error = "made has no column 'dellay' (did you mean 'delay'?)"


class TestDates(CheckSuite):
    name = "between"
    options = {"column": "day", "min": "2013-01-01"}
    good = [{"day": "2013-01-01"}]
    bad = [{"day": "2012-12-31"}]
    detail = "1 of 2 rows: day at least 2013-01-01; for example 2012-12-31"


def test_a_column_that_is_null_throughout_passes(tmp_path: Path) -> None:
    """Text bounds are of the column's type, and it has none."""
    bench = ProcessBench(tmp_path)
    checks: list[Step] = [
        ("between", {"column": "day", "min": "2013-01-01"}),
        ("accepted_values", {"column": "day", "values": ["2013-01-01"]}),
    ]
    do: list[Step] = [("sql", "SELECT n, NULL AS day FROM rows")]
    report = bench.run(do, tables({"rows": [{"n": 1}]}), checks=checks)
    assert [one.status for one in report.checks] == ["passed", "passed"]
