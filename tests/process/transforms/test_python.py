"""The transform python."""

from __future__ import annotations

from pathlib import Path

import pytest
from ropewalk.contracts.errors import ConfigError, DataError, FatalError, RopewalkError
from ropewalk.testing.transforms import ProcessBench, TransformSuite, tables

ROWS = tables({"rows": [{"n": 1, "s": "a"}, {"n": None, "s": None}]})
PANDAS = """
def transform(data, by):
    data["n"] = data["n"] * by
    return data.sort_values("n")
"""
ARROW = """
import pyarrow.compute as pc
def transform(data):
    return data.append_column("m", pc.add(data["n"], 1)).select(["m"])
"""


class TestPandas(TransformSuite):
    name = "python"
    options = {
        "code": PANDAS,
        "returns": {"n": "integer", "s": "string"},
        "args": {"by": "{{ params.by }}"},
    }
    values = {"params.by": 3}
    rows = [{"n": 1, "s": "a"}, {"n": None, "s": None}, {"n": 2**60, "s": "c"}]
    made = [{"n": 3, "s": "a"}, {"n": None, "s": None}, {"n": 3 * 2**60, "s": "c"}]


class TestArrow(TransformSuite):
    name = "python"
    options = {"code": ARROW, "returns": {"m": "integer"}, "engine": "arrow"}
    rows = [{"n": 1}, {"n": 2}]
    made = [{"m": 2}, {"m": 3}]


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("def transform(d): return d[['n']]", DataError, "the python transform returns no column 's'"),
        (
            "def transform(d): return d.assign(more=1)", DataError,
            "the python transform returns a column 'more' that returns does not declare",
        ),
        (
            "def transform(d): return d.assign(n='x')", DataError,
            ("the python transform returns 'n' as str, which is not int64: "
            "texts and other values are not turned into each other"),
        ),
        ("def transform(d): return 1", DataError, "the python transform returns int, not a pandas.DataFrame"),
        (
            "def transform(d):\n    return d['m']", FatalError,
            "the python transform failed: KeyError: 'm' (line 2 of the code)",
        ),
        ("def transform(d:", ConfigError, "the code is not Python: '(' was never closed (line 1 of the code)"),
        ("x = 1", ConfigError, "the code defines no function transform"),
    ],
)  # fmt: skip
def test_what_the_function_does_wrong_is_said(
    tmp_path: Path, code: str, kind: type[RopewalkError], message: str
) -> None:
    step = ("python", {"code": code, "returns": {"n": "integer", "s": "string"}})
    with pytest.raises(kind) as caught:
        ProcessBench(tmp_path).run([step], ROWS)
    assert caught.value.detail == message


def test_a_stage_can_forbid_it(tmp_path: Path) -> None:
    step = ("python", {"code": PANDAS, "returns": {"n": "integer", "s": "string"}})
    with pytest.raises(ConfigError, match="this stage does not run python transforms"):
        ProcessBench(tmp_path, python_transforms=False).run([step], ROWS)


def test_it_stands_between_queries(tmp_path: Path) -> None:
    bench = ProcessBench(tmp_path)
    code = "def transform(data): return data.assign(n=data['n'].fillna(0))"
    do = [
        ("filter", "s IS NULL"),
        ("python", {"code": code, "returns": {"n": "integer", "s": "string"}}),
        ("sql", "SELECT n + 1 AS m, count(*) OVER () AS c FROM rows"),
    ]
    report = bench.run(do, ROWS)
    assert bench.rows(report) == [{"m": 1, "c": 1}]
    assert report.rows.dropped == {"filter": 1}
