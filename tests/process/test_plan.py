"""The plan that people read."""

from __future__ import annotations

import pytest
from ropewalk.contracts.errors import ConfigError
from ropewalk.process.plan import plan
from ropewalk.testing.transforms import ProcessBench, tables

INPUTS = tables({"flights": [{"carrier": "UA", "delay": 1}]})
SCHEMAS = {name: table.schema for name, table in INPUTS.items()}
PLAN = """\
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
FROM "sql_2"
-- check not_null (on_fail: warn): total not null
-- $params_least = 3
"""


def test_the_plan_is_the_sql_that_runs(bench: ProcessBench) -> None:
    do = [
        ("filter", "delay > {{ params.least }}"),
        ("sql", "SELECT carrier, sum(delay) AS total FROM flights GROUP BY carrier"),
    ]
    checks = [("not_null", {"columns": ["total"], "on_fail": "warn"})]
    request = bench.request(do, INPUTS, checks=checks, values={"params.least": 3})
    assert plan(request, SCHEMAS) == PLAN


def test_the_plan_refuses_what_the_stage_would(bench: ProcessBench) -> None:
    request = bench.request([("select", ["carier"])], INPUTS)
    with pytest.raises(ConfigError) as caught:
        plan(request, SCHEMAS)
    assert str(caught.value) == "flights has no column 'carier' (did you mean 'carrier'?)"


def test_a_python_transform_parts_the_plan(bench: ProcessBench) -> None:
    step = ("python", {"code": "this is never run", "returns": {"n": "integer"}})
    text = plan(bench.request([step, ("filter", "n > 1")], INPUTS), SCHEMAS)
    assert text.startswith("-- python_1 is what a function makes of this: n int64\nSELECT")
    assert '  FROM "python_1"\n' in text
