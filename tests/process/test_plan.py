"""The plan that people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.plan import Given, Plan
from ropewalk.process.plan import plan
from ropewalk.testing.transforms import ProcessBench, Step, run_plan, tables

INPUTS = tables({"flights": [{"carrier": "UA", "delay": 1}, {"carrier": "UA", "delay": 7}]})
FLIGHTS = {"flights": Given(types={"carrier": "VARCHAR", "delay": "BIGINT"})}
SQL = """\
WITH "filter_1" AS (
  SELECT
    *
  FROM "flights"
  WHERE
    "delay" > $params_least
), "sql_2" AS (
  SELECT
    carrier,
    SUM(delay) AS total
  FROM "filter_1" AS "flights"
  GROUP BY
    carrier
)
SELECT
  "carrier",
  CAST("total" AS BIGINT) AS "total"
FROM "sql_2\""""
DO: list[Step] = [
    ("filter", "delay > {{ params.least }}"),
    ("sql", "SELECT carrier, sum(delay) AS total FROM flights GROUP BY carrier"),
]


def planned(bench: ProcessBench, do: Sequence[Step], inputs: dict[str, Given], **more: Any) -> Plan:
    """The plan of a step over inputs of which so much is known."""
    return plan(bench.request(do, {}, **more), inputs)


def test_the_plan_is_the_sql_that_runs(bench: ProcessBench) -> None:
    checks: list[Step] = [("not_null", {"columns": ["total"], "on_fail": "warn"})]
    found = planned(bench, DO, FLIGHTS, checks=checks, values={"params.least": 3})
    (query,) = found.queries
    assert (query.sql, query.parameters) == (SQL, {"params_least": 3})
    assert [(one.check, one.on_fail, one.claim) for one in found.checks] == [
        ("not_null", "warn", "total not null")
    ]
    assert [(one.name, one.type) for one in found.columns] == [
        ("carrier", "VARCHAR"),
        ("total", "BIGINT"),
    ]
    assert [source.column for source in found.columns[1].sources] == ["delay"]


def test_the_plan_refuses_what_the_stage_would(bench: ProcessBench) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(bench, [("select", ["carier"])], FLIGHTS)
    assert str(caught.value) == "flights has no column 'carier' (did you mean 'carrier'?)"


def test_a_python_transform_parts_the_plan(bench: ProcessBench) -> None:
    step = ("python", {"code": "this is never run", "returns": {"n": "integer"}})
    given = {"flights": Given(types={"carrier": None})}
    found = planned(bench, [step, ("filter", "n > 1")], given)
    first, then = found.queries
    assert [(one.name, one.type) for one in found.columns] == [("n", "BIGINT")]  # as it promises
    assert (first.name, first.function, first.returns) == ("python_1", "python", {"n": "int64"})
    assert '  FROM "python_1"\n' in then.sql


def test_a_type_that_is_not_known_is_not_told(bench: ProcessBench) -> None:
    """Nor is that of what is made of it, and no value is cast to it."""
    do: list[Step] = [
        ("aggregate", {"by": ["carrier"], "columns": {"total": "sum(delay)", "n": "count(*)"}}),
        ("fill", {"columns": {"total": 0, "n": 0}}),
    ]
    given = Given(types={"carrier": "VARCHAR", "delay": None})
    found = planned(bench, do, {"flights": given})
    assert [(one.name, one.type) for one in found.columns] == [
        ("carrier", "VARCHAR"),
        ("total", None),
        ("n", "BIGINT"),
    ]
    (query,) = found.queries
    assert 'COALESCE("total", 0) AS "total"' in query.sql
    assert 'COALESCE("n", CAST(0 AS BIGINT)) AS "n"' in query.sql
    assert "CAST" not in query.sql.rpartition("SELECT")[2]


def test_an_input_may_have_the_columns_that_the_step_names(bench: ProcessBench) -> None:
    """By a name in SQL, by an option, by a condition and by a check; and what it selects is all that there is."""
    do: list[Step] = [
        ("filter", "delay > {{ params.least }}"),
        ("fill", {"columns": {"tail": "?"}}),
        ("sql", "SELECT carrier, tail, delay FROM flights"),
    ]
    checks: list[Step] = [("not_null", ["carrier"])]
    given = Given(types={"delay": "BIGINT"}, whole=False)
    found = planned(bench, do, {"flights": given}, checks=checks, values={"params.least": 3})
    assert found.untold is None
    assert (found.whole, found.assumed) == (True, [])
    assert [(one.name, one.type) for one in found.columns] == [
        ("carrier", None),
        ("tail", None),
        ("delay", "BIGINT"),
    ]
    rows = [{"carrier": "UA", "tail": None, "delay": 5, "more": 1}]
    inputs = tables({"flights": rows})
    report = bench.run(do, inputs, checks=checks, values={"params.least": 3})
    assert run_plan(found, inputs)[0] == bench.rows(report)


def test_all_columns_of_an_open_input_stay_all(bench: ProcessBench) -> None:
    given = Given(types={"delay": "BIGINT"}, whole=False)
    found = planned(bench, [("filter", "delay > 3")], {"flights": given})
    assert not found.whole
    assert [one.name for one in found.columns] == ["delay"]
    assert found.queries[0].sql.endswith('SELECT\n  *\nFROM "filter_1"')
    assert run_plan(found, INPUTS)[0] == [{"carrier": "UA", "delay": 7}]


def test_a_list_of_all_columns_is_of_those_that_are_known_and_says_so(bench: ProcessBench) -> None:
    do: list[Step] = [("deduplicate", ["carrier"])]
    given = Given(types={"carrier": "VARCHAR", "delay": "BIGINT"}, whole=False)
    found = planned(bench, do, {"flights": given})
    assert found.assumed == ["flights"]
    assert 'ORDER BY "delay"' in found.queries[0].sql
    assert "…" not in found.queries[0].sql


def test_where_nothing_is_known_it_says_so(bench: ProcessBench) -> None:
    found = planned(bench, [("deduplicate", [])], {"flights": Given(whole=False)})
    assert found.queries == []
    assert found.untold == "it depends on what is known when it runs: no column of flights is known"


def test_a_column_that_two_open_inputs_may_have_is_not_guessed(bench: ProcessBench) -> None:
    do: list[Step] = [("sql", "SELECT delay FROM flights, planes")]
    opened = Given(types={"carrier": "VARCHAR"}, whole=False)
    found = planned(bench, do, {"flights": opened, "planes": opened})
    assert found.queries == []
    assert found.untold is not None
    assert found.untold.endswith("flights or planes have no column 'delay'")


def test_a_column_that_a_select_has_left_out_is_a_mistake_however_open_its_input(
    bench: ProcessBench,
) -> None:
    do: list[Step] = [("sql", "SELECT carrier FROM flights"), ("filter", "delay > 3")]
    found = planned(bench, do, {"flights": Given(types={"carrier": "VARCHAR"}, whole=False)})
    assert found.queries == []
    assert "this has no column 'delay'" in str(found.untold)
    do = [("sql", "SELECT * EXCLUDE (delay) FROM flights"), ("filter", "delay > 3")]
    found = planned(bench, do, {"flights": Given(types={"carrier": "VARCHAR"}, whole=False)})
    assert found.queries == []
    assert "this has no column 'delay'" in str(found.untold)
