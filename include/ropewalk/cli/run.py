"""``ropewalk run``: a whole workflow in one process, by the same code as the stages run."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ropewalk.cli.remote import perform_there
from ropewalk.contracts.errors import ConfigError, RopewalkError
from ropewalk.contracts.models import DatasetRef, Report, RunInfo, Scalar
from ropewalk.contracts.models import Progress as Done
from ropewalk.workflow import Step, Workflow, partition_of, partition_on, partitions, task_request

if TYPE_CHECKING:
    from ropewalk.kernel.datasets import DatasetStore


def run_workflow(
    workflow: Workflow,
    day: date | None,
    params: Mapping[str, Scalar],
    *,
    store: Path,
    refresh: bool,
    console: Console,
    last: date | None = None,
) -> dict[str, Report]:
    """Run every step, of each partition from ``day`` to ``last``; prints how it goes. The reports by step."""
    from ropewalk.kernel.hide import hidden, hider
    from ropewalk.kernel.perform import open_store, perform
    from ropewalk.kernel.reads import settled
    from ropewalk.kernel.settings import Settings
    from ropewalk.kernel.stage import built_in, load

    settings = Settings(
        store_url=(store / "store").as_uri(), scratch_dir=store / "scratch", pictures="kept"
    )
    datasets, hide = open_store(settings), hider(settings)
    now = datetime.now(UTC)
    if workflow.header.partition and day is None:
        raise ConfigError(
            f"{workflow.name} runs by {workflow.header.partition}", hint="add --date 2013-01-01"
        )
    partition = partition_on(workflow, day) if day else partition_of(workflow, now)
    batch = list(partitions(workflow, day, last)) if day and last and last > day else []
    run = RunInfo(
        id=f"local__{now:%Y%m%dT%H%M%S}", requested=time.time_ns() // 1000, title=workflow.title
    )
    generation = uuid.uuid4().hex if refresh else "0"
    reports: dict[str, Report] = {}
    with _progress(console) as shown:
        for step in workflow.order():
            bar = shown.add_task(step.name, total=None)
            request = task_request(
                workflow, step, run=run, partition=partition, batch=batch, params=params, inputs=_outputs(reports),
                upstream={name: report.key for name, report in reports.items()}, generation=generation,
            )  # fmt: skip

            def show(done: Done, bar: object = bar) -> None:
                shown.update(bar, total=1 if done.fraction else None, completed=done.fraction or 0)  # type: ignore[arg-type]

            def tell(level: str, text: str, step: Step = step) -> None:
                if level != "info":
                    console.print(f"[yellow]{step.name}:[/] {escape(hide(text))}")

            try:
                if step.connection is not None:
                    reports[step.name] = perform_there(step.connection, request, datasets, tell)
                else:
                    stage = load(built_in(step.stage))
                    reports[step.name] = perform(
                        stage,
                        settled(request, datasets),
                        store=datasets,
                        settings=settings,
                        show=show,
                        tell=tell,
                    )
            except RopewalkError as error:
                raise hidden(error, hide) from None
            shown.update(bar, total=1, completed=1)
    console.print(_table(reports))
    _write_pages(reports, datasets, store, console)
    return reports


def _outputs(reports: Mapping[str, Report]) -> dict[str, DatasetRef]:
    return {name: report.output for name, report in reports.items() if report.output is not None}


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:<20}"), BarColumn(24), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _table(reports: Mapping[str, Report]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("step")
    for name in ("in", "out", "quarantined", "dropped", "seconds"):
        table.add_column(name, justify="right")
    for name, report in reports.items():
        rows = report.rows
        seconds = (report.ended - report.started).total_seconds()
        counts = (sum(rows.inputs.values()), rows.out, rows.quarantined, sum(rows.dropped.values()))
        table.add_row(name, *(f"{count:,}" for count in counts), f"{seconds:.2f}")
    return table


def _write_pages(
    reports: Mapping[str, Report], datasets: DatasetStore, store: Path, console: Console
) -> None:
    """Write the files of every page where a browser can open them."""
    for name, report in reports.items():
        folder = store / "reports" / report.workflow / name
        for file in report.artifacts:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(datasets.artifact(report.key, file)[0])
        if "index.html" in report.artifacts:
            console.print(f"\n[bold]{name}[/]  {(folder / 'index.html').as_uri()}", soft_wrap=True)
