"""``python -m bench.same --days 365``: days of `flights_daily` in batches, and one by one: is it the same?

Through real stages, without Airflow. Compared are the published tables, row by row in one order, the ledger of loads,
and each step's rows: read, out, quarantined, dropped by rule. Exits with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from ropewalk.contracts.models import Report, RowCounts, RunInfo
from ropewalk.workflow import Workflow, load, partition_on, partitions, task_request

from bench.stack import Stack, stack

FILE = Path(__file__).parents[1] / "dags" / "workflows" / "flights_daily.yaml"
FIRST = date(2013, 1, 1)
BATCH = 183  # days of a year's, as `ropewalk backfill` has them
AT_ONCE = 2
STAGES = ("collect", "process", "analyze", "store")
COLUMNS = """
SELECT table_name, string_agg(quote_ident(column_name), ', ' ORDER BY column_name) FROM information_schema.columns
WHERE table_schema = %s AND column_name <> '_ropewalk_load' GROUP BY table_name ORDER BY table_name
"""
LOADS = """
SELECT split_part(target, '.', 2), scope, mode, rows, state FROM ropewalk.load
WHERE split_part(target, '.', 1) = %s ORDER BY 1, 2
"""
Found = dict[str, Any]


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.same", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    days = [FIRST + timedelta(days=number) for number in range(parser.parse_args().days)]
    batches = [days[at : at + BATCH] for at in range(0, len(days), BATCH)]
    with (
        tempfile.TemporaryDirectory(prefix="ropewalk-same-") as folder,
        stack(Path(folder), STAGES, demo=True) as running,
    ):
        batched = _timed("in batches", partial(_all, running, "batched", batches))
        singly = _timed("day by day", partial(_all, running, "singly", [[day] for day in days]))
    other = [
        name for name in batched.keys() | singly.keys() if batched.get(name) != singly.get(name)
    ]
    for name in sorted(other):
        sys.stdout.write(f"OTHER {name}: {batched.get(name)} and {singly.get(name)}\n")
    sys.stdout.write(f"{len(batched)} things compared over {len(days)} days, {len(other)} differ\n")
    sys.exit(1 if other else 0)


def _timed(name: str, work: Callable[[], Found]) -> Found:
    begun = time.monotonic()
    found = work()
    sys.stdout.write(f"{name}: {time.monotonic() - begun:.0f} s\n")
    sys.stdout.flush()
    return found


def _all(running: Stack, name: str, runs: Iterable[Sequence[date]]) -> Found:
    """Do the runs, under a name of their own; what they have come to."""
    workflow = _named(load(FILE), name)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(partial(_run, running, workflow), runs))
    return {**_tables(running, name), **_rows(done, _read_whole(workflow))}


def _named(workflow: Workflow, name: str) -> Workflow:
    """The workflow under another name, publishing to a schema of that name."""
    steps = dict(workflow.steps)
    for step in steps.values():
        if step.stage == "store":
            uses = tuple(
                use.model_copy(update={"options": {**use.options, "schema": name}})
                for use in step.do
            )
            steps[step.name] = replace(step, do=uses)
    return replace(workflow, name=name, steps=steps)


def _run(running: Stack, workflow: Workflow, days: Sequence[date]) -> dict[str, Report]:
    """One run of all steps but the page, over a day or a batch of them."""
    batch = list(partitions(workflow, days[0], days[-1])) if len(days) > 1 else []
    reports: dict[str, Report] = {}
    for step in workflow.order():
        if step.stage == "present":
            continue
        request = task_request(
            workflow, step, run=RunInfo(id=f"run-{days[0]}", requested=days[0].toordinal()),
            partition=partition_on(workflow, days[0]), batch=batch,
            inputs={name: one.output for name, one in reports.items() if one.output},
            upstream={name: one.key for name, one in reports.items()},
        )  # fmt: skip
        reports[step.name] = running.stages[step.stage].do(request)
    return reports


def _tables(running: Stack, schema: str) -> Found:
    """Each table's rows and the digest of all of them in one order; and the ledger of loads."""
    with psycopg.connect(running.dsn) as session:
        found: Found = {"loads": session.execute(LOADS, [schema]).fetchall()}
        for table, columns in session.execute(COLUMNS, [schema]).fetchall():
            query = (
                "SELECT count(*), md5(string_agg(one, E'\\n' ORDER BY one COLLATE \"C\"))"  # noqa: S608 - our own
                f" FROM (SELECT ROW({columns})::text AS one FROM {schema}.{table}) AS rows"
            )
            found[f"table {table}"] = session.execute(query.encode()).fetchone()
    return found


def _rows(done: Iterable[dict[str, Report]], whole: set[str]) -> Found:
    """The row ledger of all runs together: for each step what was read, went on, was set aside and dropped."""
    found: dict[str, list[dict[str, int]]] = {}
    for reports in done:
        for step, report in reports.items():
            found.setdefault(step, []).append(_counts(report.rows))
    return {
        f"rows of {step}": _each(counts) if step in whole else _sum(counts)
        for step, counts in found.items()
    }


def _read_whole(workflow: Workflow) -> set[str]:
    """The sources that a batch reads once for all of its days: those of a single run are as many each."""
    two = list(partitions(workflow, FIRST, FIRST + timedelta(days=1)))
    collects = [step for step in workflow.order() if step.stage == "collect"]
    return {
        step.name
        for step in collects
        if not task_request(
            workflow, step, run=RunInfo(id="two"), partition=two[0], batch=two, inputs={}
        ).batch
    }


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)


def _each(counts: Iterable[dict[str, int]]) -> list[dict[str, int]]:
    """The counts that there are: one, where all runs have the same."""
    found: list[dict[str, int]] = []
    for one in counts:
        found += [] if one in found else [one]
    return found


def _counts(rows: RowCounts) -> dict[str, int]:
    dropped = {f"dropped by {rule}": count for rule, count in rows.dropped.items()}
    return {"read": rows.read or 0, "out": rows.out, "quarantined": rows.quarantined, **dropped}


if __name__ == "__main__":
    main()
