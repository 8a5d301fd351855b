"""Chains of transforms: names, counts and laws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ropewalk.contracts.errors import ConfigError
from ropewalk.testing.transforms import ProcessBench, Step, in_order, tables

FEW = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CELLS = st.one_of(st.none(), st.integers(-3, 3))
ROWS = st.lists(st.fixed_dictionaries({"a": CELLS, "b": CELLS}), max_size=12)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)
SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.int64())])
WEATHER = [{"origin": "EWR", "wind": 1}, {"origin": "EWR", "wind": 2}, {"origin": "LGA", "wind": 3}]


def run(bench: ProcessBench, rows: list[dict[str, Any]], *do: Step) -> tuple[Any, list[Any]]:
    report = bench.run(do, {"rows": pa.Table.from_pylist(rows, schema=SCHEMA)})
    return report, bench.rows(report)


@FEW
@given(rows=ROWS)
def test_deduplicate_is_idempotent(bench: ProcessBench, rows: list[dict[str, Any]]) -> None:
    step = ("deduplicate", {"by": ["a"]})
    once, made = run(bench, rows, step)
    twice, again = run(bench, rows, step, step)
    assert again == made
    assert once.rows.dropped == twice.rows.dropped == {"deduplicate": len(rows) - len(made)}
    assert {row["a"] for row in made} == {row["a"] for row in rows}


@FEW
@given(rows=ROWS, names=st.lists(NAMES, min_size=2, max_size=2, unique_by=str.casefold))
def test_rename_and_back_is_nothing(
    bench: ProcessBench, rows: list[dict[str, Any]], names: list[str]
) -> None:
    there = dict(zip(["a", "b"], names, strict=True))
    back = {new: old for old, new in there.items()}
    _, made = run(bench, rows, ("rename", {"columns": there}), ("rename", {"columns": back}))
    assert made == in_order(rows)


@FEW
@given(rows=ROWS, least=st.integers(-3, 3))
def test_what_filter_keeps_and_drops_is_all(
    bench: ProcessBench, rows: list[dict[str, Any]], least: int
) -> None:
    kept, made = run(bench, rows, ("filter", f"a > {least}"))
    rest, others = run(bench, rows, ("filter", f"(a > {least}) IS NOT TRUE"))
    assert kept.rows.out + kept.rows.dropped["filter"] == len(rows) == kept.rows.inputs["rows"]
    assert in_order(made + others) == in_order(rows)
    assert rest.rows.out == kept.rows.dropped["filter"]


@FEW
@given(rows=ROWS)
def test_the_chain_is_the_composition_of_its_steps(
    bench: ProcessBench, rows: list[dict[str, Any]]
) -> None:
    first, second = ("filter", "b IS NOT NULL"), ("fill", {"columns": {"a": 7}})
    _, middle = run(bench, rows, first)
    _, made = run(bench, middle, second)
    assert run(bench, rows, first, second)[1] == made


@FEW
@given(name=NAMES, value=st.text(st.characters(codec="utf-8", exclude_categories=["C"])))
def test_odd_names_and_values_are_only_names_and_values(
    bench: ProcessBench, name: str, value: str
) -> None:
    table = pa.table({name: [value, None]})
    do = [
        ("fill", {"columns": {name: value}}),
        ("select", [name]),
        ("cast", {"columns": {name: "string"}}),
    ]
    checks = [
        ("accepted_values", {"column": name, "values": [value], "on_fail": "quarantine"}),
        ("unique", {"columns": [name], "on_fail": "warn"}),
    ]
    report = bench.run(do, {"rows": table}, checks=checks)
    assert bench.rows(report) == [{name: value}, {name: value}]
    assert [check.failed for check in report.checks] == [0, 1]
    assert [s.column for s in report.lineage.columns[name]] == [name]


def test_a_later_sql_reads_the_changed_input_under_its_name(bench: ProcessBench) -> None:
    flights = [{"origin": "EWR"}, {"origin": "EWR"}, {"origin": "LGA"}]
    do = [
        ("deduplicate", {"by": ["origin"]}),  # of flights, which the SQL names first
        ("filter", {"where": "wind > 1", "of": "weather"}),
        ("sql", "SELECT * FROM flights JOIN weather USING (origin)"),
        ("sql", "SELECT origin, wind * 10 AS wind, (SELECT count(*) FROM flights) AS n FROM this"),
    ]
    report = bench.run(do, tables({"weather": WEATHER, "flights": flights}))
    assert bench.rows(report) == [
        {"origin": "EWR", "wind": 20, "n": 2},
        {"origin": "LGA", "wind": 30, "n": 2},
    ]
    assert report.rows.dropped == {"deduplicate": 1, "filter": 1}
    assert report.rows.inputs == {"weather": 3, "flights": 3}


def test_which_input_is_meant_must_be_clear(bench: ProcessBench) -> None:
    with pytest.raises(ConfigError) as caught:
        bench.run([("filter", "true")], tables({"a": WEATHER, "b": WEATHER}))
    assert str(caught.value) == (
        "the step reads a, b: which one does filter apply to? (say so with of: <input>)"
    )
    with pytest.raises(ConfigError) as caught:
        bench.run([("filter", {"where": "true", "of": "wether"})], tables({"weather": WEATHER}))
    assert str(caught.value) == "the step has no input 'wether' (did you mean 'weather'?)"


def test_two_columns_of_one_name_are_refused(bench: ProcessBench) -> None:
    do = [("rename", {"columns": {"wind": "ORIGIN"}})]
    with pytest.raises(ConfigError, match="two columns of the result are named 'origin'"):
        bench.run(do, tables({"weather": WEATHER}))
    join = [("join", {"input": "other", "by": ["origin"]})]
    with pytest.raises(ConfigError, match="both weather and other have a column 'wind'"):
        bench.run(join, tables({"weather": WEATHER, "other": WEATHER}))


def test_rows_are_read_from_several_parts(tmp_path: Path) -> None:
    bench = ProcessBench(tmp_path)
    table = pa.table({"n": pa.array(range(200_000), pa.int64())})
    query = "SELECT a.n FROM rows a JOIN rows b ON a.n = b.n WHERE a.n % 2 = 0"
    report = bench.run([("filter", "n >= 100000"), ("sql", query)], {"rows": table})
    assert report.rows.out == 50_000
    assert report.rows.dropped == {"filter": 100_000}
