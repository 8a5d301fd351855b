"""The command ``ropewalk``: check, plan, run, backfill, ledger, quarantine, gc, describe, schema, status, keys …"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ropewalk import __version__
from ropewalk.cli import quarantine
from ropewalk.contracts.errors import ConfigError, RopewalkError
from ropewalk.contracts.models import Scalar

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

Files = Annotated[list[Path], typer.Argument(help="workflow files")]


@app.command()
def check(files: Files) -> None:
    """Validate workflow files; exits with 1 and every mistake's place."""
    from ropewalk.workflow import WorkflowError, load

    wrong = 0
    for file in files:
        unasked: list[RopewalkError] = []
        try:
            workflow = load(file, unasked=unasked)
        except WorkflowError as error:
            wrong += len(error.problems)
            _say(error.problems, file.parent)
        else:
            console.print(f"[green]✓[/] {file}: {len(workflow.steps)} steps", soft_wrap=True)
            for one in unasked:
                errors.print(f"[yellow]?[/] {file}: not asked: {escape(str(one))}", soft_wrap=True)
    if wrong:
        errors.print(f"{wrong} {'mistake' if wrong == 1 else 'mistakes'}")
        raise typer.Exit(1)


@app.command()
def plan(
    workflow: Annotated[str, typer.Argument(help="a workflow's file, or its name")],
    step: Annotated[str | None, typer.Argument(help="this step alone")] = None,
    *,
    day: Annotated[
        str | None,
        typer.Option("--partition", "--date", help="a day of the partition, else the first one"),
    ] = None,
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="name=value")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Show what a run would do, step by step, with the SQL and the columns; reads nothing but the file."""
    from ropewalk.cli.backfill import file_named
    from ropewalk.cli.plan import show_plan
    from ropewalk.workflow import WorkflowError, load

    file = file_named(workflow)
    chosen = _day(day) if day else None
    given = dict(_param(text) for text in param or ())
    try:
        show_plan(load(file), step, chosen, given, console=console, as_json=as_json)
    except WorkflowError as error:
        _say(error.problems, file.parent)
        raise typer.Exit(1) from None
    except ConfigError as error:
        if error.line is None:
            raise
        _say([error], file.parent)
        raise typer.Exit(1) from None


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="a workflow file")],
    *,
    day: Annotated[
        str | None, typer.Option("--date", help="a day of the partition: 2013-01-01")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="the last day, where it is a batch of several")
    ] = None,
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="name=value")] = None,
    store: Annotated[Path, typer.Option(help="where datasets are kept")] = Path(".ropewalk/local"),
    refresh: Annotated[bool, typer.Option(help="read the sources again")] = False,
) -> None:
    """Run a workflow in this process, without Airflow; connections come from ROPEWALK_CONNECTION_<NAME>."""
    from ropewalk.cli.run import run_workflow
    from ropewalk.workflow import load

    workflow = load(file, unasked=[])
    chosen = _day(day) if day else None
    given = dict(_param(text) for text in param or ())
    last = _day(until) if until else None
    run_workflow(
        workflow, chosen, given, last=last, store=store.absolute(), refresh=refresh, console=console
    )


@app.command()
def backfill(
    workflow: Annotated[str, typer.Argument(help="a workflow's name, or its file")],
    *,
    first: Annotated[str, typer.Option("--from", help="the first day: 2013-01-01")],
    last: Annotated[str, typer.Option("--to", help="the last day: 2013-12-31")],
    batch: Annotated[
        str | None,
        typer.Option(help="how many days one run does at most; else half of all, 31 to 183"),
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, max=16, help="how many runs at once")] = 4,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="name=value")] = None,
    refresh: Annotated[bool, typer.Option(help="read the sources again")] = False,
) -> None:
    """Run many partitions through Airflow, each run a batch of them; Ctrl-C stops what runs."""
    from ropewalk.cli.backfill import do_backfill

    conf: dict[str, Scalar] = dict(_param(text) for text in param or ())
    if refresh:
        conf["refresh"] = True
    days = _day(first), _day(last)
    do_backfill(workflow, days, conf, size=batch, at_once=at_once, dry_run=dry_run, console=console)


@app.command()
def describe(
    kind: Annotated[
        str | None, typer.Argument(help="source, transform, check, analysis, sink, page, chart")
    ] = None,
    name: Annotated[str | None, typer.Argument(help="a plugin's name")] = None,
    *,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="all of them, as a page of documentation")
    ] = False,
) -> None:
    """Show the installed plugins, or one with its options."""
    from ropewalk.cli.describe import markdown, show_all, show_one

    if as_markdown:
        typer.echo(markdown())
    elif kind and name:
        show_one(kind, name, console)
    else:
        show_all(kind, console)


@app.command()
def schema(
    *,
    contract: Annotated[
        bool, typer.Option(help="of the stages' contract instead of the workflow file")
    ] = False,
) -> None:
    """Print the JSON Schema of the workflow file, for editors and CI."""
    from ropewalk.contracts.schema import contract_schema
    from ropewalk.workflow.schema import workflow_schema

    found = contract_schema() if contract else workflow_schema()
    typer.echo(json.dumps(found, indent=2, sort_keys=True))


@app.command()
def status() -> None:
    """Show whether the stages and Airflow of the local installation answer."""
    from ropewalk.cli.status import show_status

    show_status(console)


@app.command()
def ledger(
    run: Annotated[str, typer.Argument(help="a run's id, as Airflow shows it")],
    *,
    workflow: Annotated[
        str | None, typer.Option("--workflow", "-w", help="where two have such a run")
    ] = None,
) -> None:
    """Show where every row of a run went, from source to table; exits with 1 where one is unaccounted for."""
    from ropewalk.cli.ledger import show_ledger

    show_ledger(run, workflow, console)


@app.command()
def gc(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only say what would be removed")
    ] = False,
) -> None:
    """Remove what nobody uses any more: old datasets, half-written files, old rows of the ledgers."""
    from ropewalk.cli.garbage import show_collected

    show_collected(console, dry_run=dry_run)


@app.command()
def keys(folder: Annotated[Path, typer.Argument(help="where to write them")]) -> None:
    """Make a pair of keys: one signs the calls of stages, and the other is all that a stage has."""
    from ropewalk.cli.keys import write_keys

    for path in write_keys(folder):
        console.print(str(path), soft_wrap=True)


@app.command()
def certificates(
    folder: Annotated[
        Path, typer.Argument(help="where to write them; ca.pem stays, if it is there")
    ],
    *,
    host: Annotated[
        list[str] | None, typer.Option(help="another name or address of the services")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="a service; else every stage, airflow and client")
    ] = None,
    days: Annotated[float, typer.Option(help="how long they are good for")] = 365,
) -> None:
    """Make an authority, and a certificate of it for every service, to try TLS with."""
    from ropewalk.cli.certificates import SERVICES, write_certificates

    found = write_certificates(folder, names=name or SERVICES, hosts=host or (), days=days)
    for path in found:
        console.print(str(path), soft_wrap=True)


@app.command()
def token(
    stage: Annotated[str, typer.Argument(help="the stage that it is for")],
    *,
    right: Annotated[
        list[str] | None,
        typer.Option(
            help="tasks, task:KEY, datasets, dataset:KEY/OUTPUT, describe, metrics, reports, garbage; else all"
        ),
    ] = None,
    hours: Annotated[float, typer.Option(help="how long it is good for", min=0.01)] = 24,
    key: Annotated[
        Path | None, typer.Option(help="the signing key; else the local installation's")
    ] = None,
) -> None:
    """Print a token with which a program calls a stage."""
    from ropewalk.cli.keys import token as made

    typer.echo(made(stage, right or [], timedelta(hours=hours), key))


app.add_typer(quarantine.app, name="quarantine")


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print it")
    ] = False,
) -> None:
    """One YAML file per data workflow."""


def _param(text: str) -> tuple[str, Scalar]:
    name, found, value = text.partition("=")
    if not found:
        raise ConfigError(f"--param takes name=value, not {text!r}")
    try:
        parsed: Scalar = json.loads(value)
    except ValueError:
        parsed = value
    return name, parsed


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a day", hint="write 2013-01-01") from None


def _say(problems: Iterable[ConfigError], folder: Path) -> None:
    """Print mistakes in files of a folder, each with its place."""
    for problem in problems:
        problem.file = str(folder / (problem.file or ""))
        errors.print(f"[red]✗[/] {escape(str(problem))}", soft_wrap=True)


def main() -> None:
    """Run a command; an error of ours is one message, without a trace."""
    try:
        app()
    except RopewalkError as error:
        errors.print(f"[red]Error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
