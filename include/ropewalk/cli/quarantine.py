"""``ropewalk quarantine``: the rows that were set aside, and their run done again after a fix."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ropewalk.cli.stages import asked, asked_by, rows
from ropewalk.contracts.errors import FatalError
from ropewalk.contracts.models import Asked

if TYPE_CHECKING:
    import pyarrow as pa

    from ropewalk.cli.airflow import Airflow

POLL = 0.5  # seconds between two looks at a run
app = typer.Typer(no_args_is_help=True, help=__doc__)
console = Console(highlight=False)
Run = Annotated[str, typer.Argument(help="a run's id, as Airflow and `list` show it")]
Workflow = Annotated[str | None, typer.Option("--workflow", "-w", help="where two have such a run")]
Step = Annotated[str | None, typer.Option("--step", "-s", help="one step only")]


@app.command("list")
def list_all(
    workflow: Annotated[str | None, typer.Argument(help="one workflow only")] = None,
) -> None:
    """The steps whose latest run of a partition has set rows aside."""
    found = asked(workflow=workflow, latest=True, quarantined=True)
    if not found:
        console.print("No rows are in quarantine.")
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("workflow", "partition", "step", "run"):
        table.add_column(name, overflow="fold")  # a run's id is of use whole
    for name in ("rows", "of", "share"):
        table.add_column(name, justify="right")
    for place, (aside, whole) in sorted(line for one in found for line in _lines(one)):
        table.add_row(*place, f"{aside:,}", f"{whole:,}", f"{aside / whole:.2%}")
    console.print(table)


@app.command()
def show(
    run: Run,
    *,
    step: Step = None,
    workflow: Workflow = None,
    limit: Annotated[int, typer.Option(help="so many rows of each step", min=1)] = 20,
    as_csv: Annotated[bool, typer.Option("--csv", help="all rows, as CSV on stdout")] = False,
) -> None:
    """The rows that a run has set aside: where each came from, the reason, and the row itself."""
    tables = list(_tables(run, workflow, step))
    if as_csv:
        _write_csv(tables)
        return
    if not tables:
        console.print("No rows are in quarantine.")
    for name, table in tables:
        console.print(f"[bold]{name}[/]: {table.num_rows:,} rows")
        console.print(_reasons(table))
        console.print(_rows(table.slice(0, limit)))


@app.command()
def replay(run: Run, *, workflow: Workflow = None) -> None:
    """Do a run again after a fix of its source or its workflow file: what was set aside has its chance, once.

    The steps that set rows aside are cleared in Airflow, with all before and after them. Sources are read again;
    each table's partition is replaced in one transaction, so that no row is there twice; what is the same is reused.
    """
    from ropewalk.cli.airflow import airflow

    before = asked_by(run, workflow)
    steps = [one.step for one in before if _counts(one)[0]]
    if not steps:
        console.print(f"Run {run} has set no row aside.")
        return
    name = before[0].workflow
    with airflow() as client, console.status(f"{name} does {', '.join(steps)} again"):
        client.clear(name, run, steps)
        state = _end(client, name, run)
    console.print(_compared(before, asked_by(run, name)))
    if state != "success":
        raise FatalError(f"run {run} has {state}", code="run_failed", hint="look at it in Airflow")


def _end(client: Airflow, workflow: str, run: str) -> str:
    """The state in which a run ends."""
    while (state := str(client.run(workflow, run)["state"])) not in {"success", "failed"}:
        time.sleep(POLL)
    return state


def _compared(before: list[Asked], after: list[Asked]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("step")
    for name in ("quarantined", "now", "went on", "now"):
        table.add_column(name, justify="right")
    was = {one.step: _counts(one) for one in before}
    for one in after:
        (aside, whole), (then_aside, then_whole) = _counts(one), was.get(one.step, (0, 0))
        if aside or then_aside:
            counts = (then_aside, aside, then_whole - then_aside, whole - aside)
            table.add_row(one.step, *(f"{count:,}" for count in counts))
    return table


def _lines(one: Asked) -> Iterator[tuple[tuple[str, ...], tuple[int, int]]]:
    """Workflow, partition, step and run with the rows set aside: of a batch by each partition that counts."""
    report = one.status.report
    parts = (
        {name: counts for name, counts in report.aside.items() if name in one.partitions}
        if report
        else {}
    )
    for name, counts in (parts or {one.partition or "": _counts(one)}).items():
        yield (one.workflow, name, one.step, one.run), counts


def _counts(one: Asked) -> tuple[int, int]:
    """The rows that a task set aside, and those with the ones that went on."""
    report = one.status.report
    if report is None:
        return 0, 0
    return report.rows.quarantined, report.rows.quarantined + report.rows.out


def _tables(run: str, workflow: str | None, step: str | None) -> Iterator[tuple[str, pa.Table]]:
    with tempfile.TemporaryDirectory() as scratch:
        for one in asked_by(run, workflow):
            report = one.status.report
            ref = report.outputs.get("quarantine") if report else None
            if report and ref and ref.rows and step in {None, one.step}:
                yield one.step, rows(report.stage, ref, Path(scratch))


def _reasons(table: pa.Table) -> Table:
    groups = table.group_by(["rule", "column"]).aggregate([([], "count_all"), ("reason", "min")])
    shown = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    shown.add_column("rows", justify="right")
    for name in ("rule", "column", "for example"):
        shown.add_column(name)
    for row in groups.sort_by([("count_all", "descending")]).to_pylist():
        texts = (row["rule"], row["column"] or "", row["reason_min"])
        shown.add_row(f"{row['count_all']:,}", *map(escape, texts))
    return shown


def _rows(table: pa.Table) -> Table:
    shown = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("source", "line", "reason", "row"):
        shown.add_column(name, overflow="fold")
    for row in table.to_pylist():
        texts = (row[name] for name in ("source", "line", "reason", "row"))
        shown.add_row(*(escape("" if text is None else str(text)) for text in texts))
    return shown


def _write_csv(tables: list[tuple[str, pa.Table]]) -> None:
    """One table of all steps, with the step's name first."""
    import pyarrow as pa
    from pyarrow import csv

    from ropewalk.kernel.task import QUARANTINE

    whole = [
        table.add_column(0, "step", pa.array([name] * table.num_rows, pa.string()))
        for name, table in tables
    ]
    schema = QUARANTINE.insert(0, pa.field("step", pa.string()))
    csv.write_csv(pa.concat_tables(whole) if whole else schema.empty_table(), sys.stdout.buffer)
