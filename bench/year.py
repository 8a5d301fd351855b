"""(a) `flights_year` through five services, without Airflow, against the same as one script.

Ours collects from files, a paged API and a database, checks, quarantines, publishes in one transaction
and draws a report; every time all of it, since the workflow goes by another name each time.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import psycopg
from ropewalk.contracts.models import Report, RunInfo
from ropewalk.workflow import Workflow, load, task_request
from ropewalk.workflow.partitions import whole

from bench.clock import Run, alternate
from bench.options import Options
from bench.rivals import with_duckdb, with_pandas
from bench.stack import Stack, stack
from bench.table import Figure

TITLE = "(a) flights_year: 336,776 flights, joined, aggregated, published"
FILE = Path(__file__).parents[1] / "dags" / "workflows" / "flights_year.yaml"
OWN = {"store", "present"}  # what every run does itself
RIVALS = {"by_duckdb": with_duckdb, "by_pandas": with_pandas}


def run(options: Options) -> Iterator[Figure]:
    """Measures all three on one Postgres."""
    workflow = load(FILE)
    with stack(options.folder, demo=True) as running:
        with psycopg.connect(running.dsn) as session:
            for schema in RIVALS:
                session.execute(f"CREATE SCHEMA {schema}")
        scripts = {
            name: partial(script, running.sources, running.dsn, name)
            for name, script in RIVALS.items()
        }
        rivals: dict[str, Run] = {
            "ours": lambda: through_stages(running, anew(workflow)),
            **scripts,
        }
        taken = alternate(options.console, rivals, options.rounds)
        twice = [_twice(running, anew(workflow)) for _ in range(options.rounds)]
        first, again = (median(times) for times in zip(*twice, strict=True))
    yield Figure("five services", taken["ours"], "one DuckDB script", taken["by_duckdb"], 2.5)
    yield Figure(
        "five services", taken["ours"], "pandas, to_sql", taken["by_pandas"], 4, sense="at least"
    )
    yield Figure("a run again, work of the stages", again, "its first time", first, 0.05)


def _twice(running: Stack, workflow: Workflow) -> tuple[float, float]:
    """Seconds that the stages work for a run; and for another, which draws its page and looks what the tables hold."""
    first = through_stages(running, workflow, "first")
    again = through_stages(running, workflow, "again")
    own = {name: report for name, report in again.items() if report != first[name]}
    if {workflow.steps[name].stage for name in own} != OWN or not _held(own):
        raise RuntimeError(f"{', '.join(own)} of {workflow.name}: done again")
    return _worked(first), _worked(own)


def _held(reports: dict[str, Report]) -> bool:
    return all(one.replayed for report in reports.values() for one in report.published)


def _worked(reports: dict[str, Report]) -> float:
    return sum((report.ended - report.started).total_seconds() for report in reports.values())


def through_stages(running: Stack, workflow: Workflow, run: str = "one") -> dict[str, Report]:
    """All steps, each as soon as what it waits for is done: the report of each."""
    done: dict[str, Report] = {}
    graph = TopologicalSorter({step.name: step.after for step in workflow.steps.values()})
    graph.prepare()
    pending: dict[Future[Report], str] = {}
    with ThreadPoolExecutor(len(workflow.steps)) as pool:
        while graph.is_active():
            for name in graph.get_ready():
                task = pool.submit(_do, running, workflow, run, name, dict(done))
                pending[task] = name
            for task in wait(pending, return_when=FIRST_COMPLETED).done:
                name = pending.pop(task)
                done[name] = task.result()
                graph.done(name)
    return done


def anew(workflow: Workflow) -> Workflow:
    """The workflow under another name, publishing to a schema of that name: nothing of it has been done before."""
    name = f"year_{secrets.token_hex(4)}"
    publish = workflow.steps["publish"]
    (use,) = publish.do
    elsewhere = use.model_copy(update={"options": {**use.options, "schema": name}})
    steps = {**workflow.steps, "publish": replace(publish, do=(elsewhere,))}
    return replace(workflow, name=name, steps=steps)


def _do(running: Stack, workflow: Workflow, run: str, name: str, done: dict[str, Report]) -> Report:
    step = workflow.steps[name]
    request = task_request(
        workflow,
        step,
        run=RunInfo(id=run),
        partition=whole(workflow),
        inputs={name: report.output for name, report in done.items() if report.output},
        upstream={name: report.key for name, report in done.items()},
    )
    return running.stages[step.stage].do(request)
