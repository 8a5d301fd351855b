"""The transform fill."""

from __future__ import annotations

from pathlib import Path

from ropewalk.testing.transforms import ProcessBench, Step, TransformSuite, tables


class TestFill(TransformSuite):
    name = "fill"
    options = {"columns": {"wind": 0, "dest": "it's unknown"}}
    rows = [{"wind": 1.5, "dest": None}, {"wind": None, "dest": "IAH"}]
    made = [{"wind": 1.5, "dest": "it's unknown"}, {"wind": 0.0, "dest": "IAH"}]
    bad = {"columns": {"wnd": 0}}
    error = "rows has no column 'wnd' (did you mean 'wind'?)"


def test_a_column_that_is_null_throughout_takes_the_values_type(tmp_path: Path) -> None:
    bench = ProcessBench(tmp_path)
    do: list[Step] = [
        ("sql", "SELECT n, NULL AS note FROM rows"),
        ("fill", {"columns": {"note": "none"}}),
    ]
    report = bench.run(do, tables({"rows": [{"n": 1}]}))
    assert bench.rows(report) == [{"n": 1, "note": "none"}]
