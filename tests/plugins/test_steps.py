"""Steps of a workflow through Airflow's operators and the real stages: what they leave, log, and raise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.execution_time.context import OutletEventAccessors
from ropewalk.contracts.errors import DataError, RetryableError, RopewalkError
from ropewalk.contracts.models import Report
from ropewalk.contracts.plugins import STAGE_KIND, plugin_names
from ropewalk.local.free_ports import free_port
from ropewalk.testing.services import StageService, running
from ropewalk.workflow import loads
from ropewalk_airflow.dag import workflow_dag
from ropewalk_airflow.operator import StageOperator
from ropewalk_airflow.retry import StageRetryPolicy

from tests.conftest import Database, Postgres
from tests.plugins.conftest import logged

FIFTH = datetime(2013, 1, 5, tzinfo=UTC)
HEAD = "start: 2013-01-01\npartition: day\nsteps:\n"
ROWS = '  rows:\n    collect: files\n    with: {path: "data://{{ partition.date }}.csv"}\n'
DATA = "n,word\n1,a\n2,b\n3,c\n3,c\n,d\n"


@dataclass
class Line:
    """The stages, running, and what Airflow's side needs to run a workflow through them."""

    results: Database
    root: Path
    runs: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def run(self, name: str, steps: str, run: str = "") -> Run:
        """A run of a workflow with these steps, of which none has begun."""
        run = run or f"run-{next(self.runs)}"
        return Run(run, {
            str(task.task_id): task
            for task in workflow_dag(loads(HEAD + ROWS + steps, Path(f"{name}.yaml"))).tasks
            if isinstance(task, StageOperator)
        })  # fmt: skip


@dataclass
class Run:
    """One run in Airflow: its tasks, and what they have left in XCom."""

    id: str
    tasks: dict[str, StageOperator]
    left: dict[str, Any] = field(default_factory=dict)
    events: OutletEventAccessors = field(default_factory=OutletEventAccessors)

    def do(self, *names: str) -> dict[str, Any]:
        """Do tasks, in this order; what the last one has left."""
        for name in names:
            self.tasks[name].defer_after = 120  # the worker waits: a triggerer there is not
            self.left[name] = self.tasks[name].execute(self._context(name))
        return dict(self.left[names[-1]])

    def fails(self, name: str) -> RopewalkError:
        """The error that a task raises; it leaves what has failed, and nothing that a step could read."""
        with pytest.raises(RopewalkError) as caught:
            self.do(name)
        assert name not in self.left
        assert self.left["failed"]["error"] == str(caught.value)[:2000]
        assert self.tasks[name].report is None
        return caught.value

    def report(self, name: str) -> Report:
        """The report of a task that has been done."""
        found = self.tasks[name].report
        assert found is not None
        return found

    def _context(self, name: str) -> dict[str, Any]:
        run = SimpleNamespace(
            run_id=self.id, dag_id="steps", conf={}, clear_number=0, start_date=datetime.now(UTC),
            data_interval_start=FIFTH, logical_date=FIFTH, run_after=FIFTH,
        )  # fmt: skip
        ti = SimpleNamespace(
            id=f"{self.id}-{name}", max_tries=0, task=SimpleNamespace(retries=0), map_index=-1,
            xcom_pull=lambda task_ids, **_: self.left[task_ids],
            xcom_push=lambda key, value: self.left.update({key: value}),
        )  # fmt: skip
        return {"dag_run": run, "ti": ti, "params": {}, "outlet_events": self.events}


@pytest.fixture(scope="module")
def line(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The stages, and Airflow's connections to them."""
    home, results = tmp_path_factory.mktemp("steps"), postgres.database()
    (home / "2013-01-05.csv").write_text(DATA)
    env = {
        "ROPEWALK_ROOT_DATA": str(home),
        "ROPEWALK_CONNECTION_RESULTS": results.stage("store"),
        "ROPEWALK_CONNECTION_AWAY": f"postgresql://u:hush-hush@127.0.0.1:{free_port()}/db",
    }
    services = [
        StageService(name, results.stage(name), home, env) for name in STAGE_KIND
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, running(*services):
        for one in services:
            found = {
                "conn_type": "ropewalk_stage",
                "host": "127.0.0.1",
                "port": one.port,
                "password": one.key,
            }
            patch.setenv(f"AIRFLOW_CONN_ROPEWALK_{one.stage.upper()}", json.dumps(found))
        yield Line(results, home)


MADE = "  made:\n    process:\n      - sql: SELECT n, word FROM rows\n    checks: [{check}]\n"


CHECKS = {
    "not_null": ("not_null: [n]", "check not_null failed: 1 of 5 rows: n not null"),
    "unique": ("unique: [n, word]", "check unique failed: 1 of 5 rows: n, word unique; for example 3, c"),
    "between": (
        "between: {column: n, max: 2}", "check between failed: 2 of 5 rows: n at most 2; for example 3",
    ),
    "accepted_values": (
        "accepted_values: {column: word, values: [a, b, c]}",
        "check accepted_values failed: 1 of 5 rows: word one of a, b, c; for example d",
    ),
    "row_count": ("row_count: {min: 6}", "check row_count failed: at least 6 rows; there are 5"),
    "sql": ('sql: "n < 3"', "check sql failed: 2 of 5 rows: n < 3; for example 3"),
}  # fmt: skip
SINKS = {"postgres", "files"}  # that fail in the tests here


def test_every_check_and_every_sink_fails_here_in_some_way() -> None:
    assert set(CHECKS) == set(plugin_names("check"))
    assert set(plugin_names("sink")) == SINKS


@pytest.mark.parametrize(("check", "said"), CHECKS.values(), ids=CHECKS)
def test_a_check_that_fails_fails_the_task_for_good(line: Line, check: str, said: str) -> None:
    run = line.run("checked", MADE.replace("{check}", f"{{{check}}}"))
    run.do("rows")
    error = run.fails("made")
    assert isinstance(error, DataError)
    assert (error.detail, error.step, error.retryable) == (said, "made", False)
    assert decision(error) is RetryAction.FAIL


@pytest.mark.parametrize(
    ("query", "options", "said", "again"),
    [
        ("SELECT 'two' AS n FROM rows", "{schema: narrow, mode: replace}",
         "column 'n' is bigint, and the data is text", False),
        ("SELECT n FROM rows WHERE n = 3", "{schema: doubled, mode: upsert, key: [n]}",
         "made: 1 keys (n) are there more than once in the data", False),
        ("SELECT n FROM rows", "{schema: gone, mode: replace, connection: away}",
         "the database of 'away' does not answer", True),
    ],
    ids=["a narrower column", "a doubled key", "the database away"],
)  # fmt: skip
def test_a_sink_that_fails_fails_the_task(
    line: Line, query: str, options: str, said: str, again: Any
) -> None:
    table = line.run(
        "published", published("SELECT DISTINCT n FROM rows", "{schema: narrow, mode: replace}")
    )
    assert table.do("rows", "made", "publish")["outputs"] == {}

    run = line.run("published", published(query, options))
    run.do("rows", "made")
    error = run.fails("publish")
    assert said in str(error)
    assert "hush" not in str(error)
    assert isinstance(error, RetryableError if again else DataError)
    assert error.retryable is again
    assert decision(error) is (RetryAction.DEFAULT if again else RetryAction.FAIL)


@pytest.mark.parametrize(
    ("step", "said", "again"),
    [
        ("store: files, with: {path: 'data://2013-01-05.csv', mode: replace}", "cannot be written", True),
        ("store: files, with: {path: 'data://out', by: [nothing]}", "no column 'nothing'", False),
        ("analyze: train, with: {target: n, features: [nothing], estimator: ridge}", "'nothing'", False),
        ("analyze: train, with: {target: n, features: [word], estimator: ridge}", "too few", False),
        ("present: report, with: {charts: [{bar: {of: rows, x: nothing}}]}", "'nothing'", False),
    ],
    ids=["files in the way", "files by no column", "analyze", "analyze too few", "present"],
)  # fmt: skip
def test_any_other_step_that_fails_fails_the_task(
    line: Line, step: str, said: str, again: Any
) -> None:
    run = line.run("others", f"  other: {{{step}, from: rows}}\n")
    run.do("rows")
    error = run.fails("other")
    assert said in str(error)
    assert error.retryable is again
    assert decision(error) is (RetryAction.DEFAULT if again else RetryAction.FAIL)


def published(query: str, options: str) -> str:
    """A workflow's steps that publish a query's rows."""
    return (
        f'  made:\n    process:\n      - sql: "{query}"\n'
        f"  publish:\n    store: postgres\n    from: made\n    with: {options}\n"
    )


def decision(error: RopewalkError) -> RetryAction:
    """What Airflow does after an error."""
    return StageRetryPolicy().evaluate(error, 1, 3).action


def test_the_log_says_which_run_has_done_it_already(
    line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = published("SELECT n + 10 AS n FROM rows", "{schema: again, mode: replace}")
    first = line.run("reused", steps, "the-first")
    first.do("rows", "made")
    assert not [text for text in logged(capsys) if text.startswith("Reused")]
    second = line.run("reused", steps, "the-second")
    second.do("rows", "made", "publish")
    told = [text for text in logged(capsys) if text.startswith(("Reused", "Stage ", "Why"))]
    assert told[:2] == ["Reused: run the-first has done this already for 2013-01-05"] * 2
    assert told[2].startswith("Stage store has task ")
    assert second.left["made"] == first.left["made"]
    with psycopg.connect(
        line.results.stage("process")
    ) as session:  # as after a batch: no row of the day's own
        session.execute("DELETE FROM process.task WHERE workflow = 'reused'")
    capsys.readouterr()
    line.run("reused", steps, "the-third").do("rows", "made")
    assert "Reused: run the-first has done this already" in logged(capsys)


def test_openlineage_is_told_where_each_column_comes_from(line: Line) -> None:
    run = line.run(
        "lineage",
        published("SELECT n * 2 AS twice, word FROM rows", "{schema: lineage, mode: replace}"),
    )
    task = SimpleNamespace(dag_id="lineage")
    made = run.tasks["made"]
    assert made.get_openlineage_facets_on_complete(task) == OperatorLineage()  # before it is done
    run.do("rows", "made", "publish")
    found = made.get_openlineage_facets_on_complete(task)
    (output,) = found.outputs
    assert [(one.namespace, one.name) for one in found.inputs] == [("ropewalk", "lineage.rows")]
    assert (output.namespace, output.name) == ("ropewalk", "lineage.made")
    assert {
        name: [(one.namespace, one.name, one.field) for one in column.inputFields]
        for name, column in output.facets["columnLineage"].fields.items()
    } == {
        "twice": [("ropewalk", "lineage.rows", "n")],
        "word": [("ropewalk", "lineage.rows", "word")],
    }
    published_to = run.tasks["publish"].get_openlineage_facets_on_complete(task).outputs
    assert [one.name.rpartition(".lineage.")[2] for one in published_to] == ["made"]
    (asset, _) = run.tasks["publish"].outlets
    assert run.events[asset].extra == {  # the table's two names can be joined
        "rows": 5,
        "openlineage": {"namespace": published_to[0].namespace, "name": published_to[0].name},
    }
    (read,) = run.tasks["rows"].get_openlineage_facets_on_complete(task).inputs
    assert (read.namespace, read.name) == ("data://", "2013-01-05.csv")
