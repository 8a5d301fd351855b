"""The plan of a whole workflow: what it says, and that its SQL does what the stage does."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest
from rich.console import Console
from ropewalk.cli.plan import Planned, Whole, chosen, json_of, planned, show
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import RunInfo
from ropewalk.kernel.perform import perform
from ropewalk.kernel.stage import load as stage
from ropewalk.testing.transforms import ProcessBench, run_plan
from ropewalk.workflow import load, loads, partition_on, task_request

if TYPE_CHECKING:
    from ropewalk.contracts.models import Scalar

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / "dags" / "workflows"
DAILY = WORKFLOWS / "flights_daily.yaml"
ROWS = 24
UNTOLD = {  # what the database of the demo says of these columns
    ("planes", "year"): pa.int64(),
    ("planes", "seats"): pa.int64(),
}


def ropewalk(*words: str, cwd: Path = ROOT, code: str = "") -> subprocess.CompletedProcess[str]:
    """The command as it is typed, with no connection and no root in its environment; after some ``code``."""
    begin = f"{code}\nimport sys; from ropewalk.cli import main; sys.argv[0] = 'ropewalk'; main()"
    return subprocess.run(
        [sys.executable, "-c", begin, *words], cwd=cwd, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "include"), "COLUMNS": "200", "NO_COLOR": "1"},
    )  # fmt: skip


def plan_of(
    text: str, day: date | None = None, params: Mapping[str, Scalar] | None = None
) -> Whole:
    """The plan of a workflow's text."""
    return planned(loads(text, Path("w.yaml")), day, params or {})


def steps(found: Whole) -> dict[str, Planned]:
    """Its steps by name."""
    return {one.step.name: one for one in found.steps}


def printed(found: Whole) -> str:
    """What people read."""
    console = Console(width=200, file=io.StringIO(), highlight=False)
    show(found, chosen(found, None), console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


# The SQL does what the stage does


def column(step: str, name: str, kind: str | None) -> pa.Array:
    """Values of a column: few different ones, so that rows meet in joins and groups, and some nulls."""
    numbers = [None if row % 7 == 5 else row * 3 % 4 for row in range(ROWS)]
    if kind == "TIMESTAMPTZ":
        begin = datetime(2013, 1, 1, 5, tzinfo=UTC)
        return pa.array(
            [begin + timedelta(hours=row % 6) for row in range(ROWS)], pa.timestamp("us", "UTC")
        )
    if name in {"year", "month", "day"} and step == "flights":
        return pa.array([{"year": 2013}.get(name, 1 + row % 9) for row in range(ROWS)], pa.int64())
    if kind == "BIGINT":
        return pa.array(numbers, pa.int64())
    if kind == "DOUBLE":
        return pa.array([None if n is None else n / 3 for n in numbers], pa.float64())
    known = UNTOLD.get((step, name))
    if known is not None:
        return pa.array(numbers, known)
    return pa.array(
        [None if n is None else f"{'name of ' if name == 'name' else ''}{n}" for n in numbers]
    )


def once(table: pa.Table) -> pa.Table:
    """One row for each value of the first column, so that no join brings a row twice."""
    with duckdb.connect() as connection:
        connection.register("rows", table)
        first = table.column_names[0]
        made = f'SELECT DISTINCT ON ("{first}") * FROM rows ORDER BY ALL'
        return connection.sql(made).to_arrow_table()


@pytest.mark.parametrize("name", ["flights_daily", "flights_year"])
def test_the_sql_of_the_demo_gives_what_the_stage_gives(name: str, tmp_path: Path) -> None:
    """Over small tables of those columns, step by step, each with what the stage has made of the one before."""
    workflow = load(WORKFLOWS / f"{name}.yaml")
    params = {"min_flights": 2}
    bench = ProcessBench(tmp_path)
    tables: dict[str, pa.Table] = {}
    done = []
    for one in planned(workflow, None, params).steps:
        step = one.step
        if step.stage == "collect":
            made = {col.name: column(step.name, col.name, col.type) for col in one.columns}
            table = pa.table(made)
            tables[step.name] = table if step.name in {"flights", "weather"} else once(table)
        if one.plan is None:
            continue
        inputs = {need: tables[need] for need in step.needs}
        request = task_request(
            workflow, step, run=RunInfo(id="r"), partition=partition_on(workflow, date(2013, 1, 1)), params=params,
            inputs={need: bench.dataset(table) for need, table in inputs.items()},
        )  # fmt: skip
        request = request.model_copy(
            update={"checks": []}
        )  # what they set aside is not in the query
        report = perform(
            stage("ropewalk.process.stage"), request, store=bench.store, settings=bench.settings
        )
        rows, types = run_plan(one.plan, inputs)
        assert rows
        assert rows == bench.rows(report)
        assert {col.name: col.type or types[col.name] for col in one.columns} == types
        assert {
            col.name: [(source.dataset, source.column) for source in col.sources]
            for col in one.columns
        } == {
            name: [(source.dataset, source.column) for source in sources]
            for name, sources in report.lineage.columns.items()
        }
        tables[step.name] = bench.table(report)
        done.append(step.name)
    assert done == ["departures", "by_carrier", "by_hour", "by_destination"]


# What it says


def test_the_plan_of_the_demo() -> None:
    done = ropewalk("plan", "dags/workflows/flights_daily.yaml")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "flights_daily: New York departures, day by day",
        "partition 2013-01-01: from 2013-01-01T00:00:00-05:00 to before 2013-01-02T00:00:00-05:00",
        "parameter min_flights = 10",
    ]
    assert "  1  flights · weather · planes · airports · airlines" in lines
    assert "  2  departures" in lines
    assert "  path     data://flights/2013-01.csv" in lines
    assert "departures  process: deduplicate → deduplicate → sql" in lines
    assert "           airline ? ← airlines.name" in lines
    assert "           dep_delay BIGINT ← flights.dep_delay" in lines
    assert "           not_null: carrier, origin not null; else such rows are set aside" in lines
    assert "  query    if flights has other columns than these, it names them too" in lines
    assert "    COUNT(*) >= $params_min_flights" in lines
    assert "-- $params_min_flights = 10" in lines
    assert (
        "  writes  departures → postgres://results/flights.departures (replace_partition)" in lines
    )
    assert "  batch  yes: the last partition alone" in lines


def test_one_step_of_a_day_for_programs() -> None:
    """By the workflow's name, too."""
    done = ropewalk(
        "plan", "flights_daily", "by_carrier", "--partition", "2013-07-04", "-p", "min_flights=3", "--json"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["partition"]["name"] == "2013-07-04"
    (step,) = found["steps"]
    assert (step["step"], step["inputs"]) == ("by_carrier", ["departures"])
    assert step["queries"][0]["parameters"] == {"params_min_flights": 3}
    told = {column["name"]: column for column in step["columns"]}
    assert told["mean_delay"] == {
        "name": "mean_delay", "type": "DOUBLE", "sources": [{"dataset": "departures", "column": "dep_delay"}],
    }  # fmt: skip


def test_a_wrong_name_is_told_with_the_nearest(tmp_path: Path) -> None:
    """Of a step, of a file's own words with their place, and of a day."""
    done = ropewalk("plan", "flights_daily", "by_carier")
    assert done.returncode == 1
    assert "flights_daily has no step 'by_carier' (did you mean 'by_carrier'?)" in done.stderr
    (tmp_path / "w.yaml").write_text("steps:\n  words:\n    colect: files\n", encoding="utf-8")
    done = ropewalk("plan", "w.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "✗ w.yaml:3:13: step 'words' has no stage word (did you mean 'collect'?)" in done.stderr
    done = ropewalk("plan", "flights_daily", "--partition", "2013-13-01")
    assert done.returncode == 1
    assert done.stderr == "Error: '2013-13-01' is not a day (write 2013-01-01)\n"


TYPED = """steps:
  words:
    collect: files
    with: {path: "data://words.csv", select: [n, word], columns: {n: integer, word: string}}
  long:
    process:
      - sql: |
          SELECT sum(word) AS letters
          FROM words
"""


def test_a_mistake_that_only_types_show_is_told_at_its_place(tmp_path: Path) -> None:
    """A check of names finds nothing wrong with it."""
    (tmp_path / "w.yaml").write_text(TYPED, encoding="utf-8")
    done = ropewalk("plan", "w.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "✗ w.yaml:7:14: No function matches" in done.stderr


SPY = """
import os, sys
here = os.getcwd()
def look(event, args):
    path = os.path.abspath(os.fsdecode(args[0])) if args and isinstance(args[0], str | bytes) else ""
    if event in {"open", "os.listdir", "os.scandir"} and path.startswith(here + os.sep):
        print("SEEN", event, os.path.relpath(path, here), file=sys.stderr)
sys.addaudithook(look)
"""
SECRET = """start: 2013-01-01
partition: day
steps:
  words:
    collect: files
    with: {path: "data://words.csv"}
  seats:
    collect: sql
    with: {connection: fleet, query: SELECT word FROM seats}
  long:
    process: [{sql: "SELECT word, length(word) AS size FROM words JOIN seats USING (word)"}]
  publish:
    store: postgres
    from: [words, long]
    with: {connections: {long: warehouse}}
"""


def test_it_reads_the_file_alone_and_asks_nobody(tmp_path: Path) -> None:
    """Neither data nor a secret, nor a server that a check would ask."""
    (tmp_path / "words.csv").write_text("word\nrope\n", encoding="utf-8")
    (tmp_path / "w.yaml").write_text(SECRET, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as server:
        dsn = f"postgresql://me:hush@127.0.0.1:{server.getsockname()[1]}/x"
        env = {f"ROPEWALK_CONNECTION_{name}": dsn for name in ("FLEET", "RESULTS", "WAREHOUSE")}
        code = f"import os; os.environ.update({env | {'ROPEWALK_ROOT_DATA': str(tmp_path)}!r})\n"
        done = ropewalk("plan", "w.yaml", cwd=tmp_path, code=code + SPY)
        assert done.returncode == 0, done.stderr
        assert set(done.stderr.splitlines()) == {"SEEN open w.yaml"}
        assert "hush" not in done.stdout
        assert "long → postgres://warehouse/public.long (replace_partition)" in done.stdout
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        server.settimeout(120)
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(ropewalk, "check", "w.yaml", cwd=tmp_path, code=code)
            server.accept()[0].close()  # so would anybody who asks be seen
            server.close()
            assert asked.result().returncode == 0


def test_without_an_engine_all_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(TYPED, encoding="utf-8")
    done = ropewalk("plan", "w.yaml", cwd=tmp_path, code="import sys; sys.modules['duckdb'] = None")
    assert done.returncode == 0, done.stderr
    assert "  columns  letters ?" in done.stdout
    assert "  query    ?: it takes duckdb, which is not installed here" in done.stdout


SMALL = """start: 2013-01-01
end: 2013-01-31
partition: day
params: {{least: {{type: integer}}}}
stages: [geocode]
steps:
  words:
    collect: sql
    with: {{connection: fleet, query: "SELECT id, word FROM words", cursor: {{column: id}}}}
  places:
    geocode: addresses
    from: words
    with: {{name: "{{{{ partition.date }}}}"}}
  long:
    process:
      - filter: length(word) >= {{{{ params.least }}}}
      - python: {{code: "def transform(data): return data", returns: {{word: string, size: integer}}}}
      - {last}
    from: words
    max_quarantined: 1%
    checks: [{{between: {{column: size, min: 1, on_fail: quarantine}}}}, {{row_count: {{min: 1, on_fail: warn}}}}]
  publish:
    store: files
    from: [long, places]
    with: {{path: "data://out", mode: replace}}
"""
GOOD = SMALL.format(last="sql: SELECT word, size * 2 AS twice, size FROM this")


def test_what_a_batch_cannot_do_is_said_as_backfill_says_it() -> None:
    found = steps(plan_of(GOOD, params={"least": 2}))
    assert not found["words"].batched
    assert "by a cursor: its partitions cannot be run as a batch" in found["words"].batch
    assert "run them one by one" in found["words"].batch
    assert found["long"].batched


def test_a_workflow_without_partitions_covers_everything() -> None:
    text = GOOD.replace("partition: day\n", "").replace(", cursor: {column: id}", "")
    found = plan_of(text.replace("partition.date", "run.id"), None, {"least": 2})
    assert found.partition is not None
    assert found.partition.name == "2013-01-01_2013-01-31"
    assert {one.batch for one in found.steps} == {
        "no: a run covers everything, since the workflow has no partitions"
    }


def test_a_day_outside_of_the_workflow_is_said() -> None:
    assert "? it lies outside" not in printed(plan_of(GOOD, date(2013, 1, 31), {"least": 2}))
    text = printed(plan_of(GOOD, date(2014, 1, 1), {"least": 2}))
    assert "? it lies outside of the workflow's days, 2013-01-01 to 2013-01-31" in text


def test_a_parameter_without_a_default_needs_a_value() -> None:
    with pytest.raises(ConfigError, match="parameter 'least' has no default and needs a value"):
        plan_of(GOOD)


def test_checks_a_function_and_a_sink_are_told() -> None:
    found = plan_of(GOOD, params={"least": 2})
    text = printed(found)
    for line in (
        "  check    between: size at least 1; else such rows are set aside",
        "           row_count: at least 1 rows; else a warning",
        "           at most 1% set aside; else the step fails, and nothing after it runs",
        "-- $params_least = 2",
        "-- python_2 is what python makes of these rows: word string, size int64",
        "  writes  long → data://out/long (replace)",
        "  name     2013-01-01",
    ):
        assert line in text.splitlines(), text
    first, then = steps(found)["long"].plan.queries  # type: ignore[union-attr]
    assert 'LENGTH("word") >= $params_least' in first.sql
    assert 'FROM "python_2"' in then.sql
    assert json.loads(json.dumps(json_of(found, found.steps)))["steps"][-1]["targets"] == {
        "long": "data://out/long", "places": "data://out/places",
    }  # fmt: skip


def test_what_a_stage_of_ones_own_gives_is_known_when_it_runs() -> None:
    found = steps(plan_of(GOOD, params={"least": 2}))["places"]
    assert (found.columns, found.whole) == ([], False)
    assert "  columns  all: ?" in printed(plan_of(GOOD, params={"least": 2})).splitlines()
