"""``ropewalk ledger``: where every row of a run went, from source to table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ropewalk.cli.stages import asked_by, reports
from ropewalk.contracts.accounts import Account, accounts
from ropewalk.contracts.models import Asked, State

COLOURS = {"balanced": "green", "open": "dim", "unbalanced": "red"}


def show_ledger(run: str, workflow: str | None, console: Console) -> None:
    """A table of the run's steps; exits with 1 where a row is unaccounted for, or a step has not succeeded."""
    found = asked_by(run, workflow)
    entries = [one for one in accounts(reports(found)) if one.report.stage != "present"]
    console.print(table_of(entries))
    for why, steps in _reasons(entries, run).items():
        console.print(f"{', '.join(steps)}: [dim]{escape(why)}[/]", soft_wrap=True)
    unfinished = [one for one in found if one.status.state is not State.SUCCEEDED]
    for one in unfinished:
        _say_unfinished(one, console)
    wrong = [one for one in entries if one.wrong]
    for entry in wrong:
        console.print(f"[red]✗[/] {entry.report.step}: {escape(entry.wrong)}", soft_wrap=True)
    if wrong or unfinished:
        raise typer.Exit(1)
    console.print(_sum(entries), soft_wrap=True)


def table_of(entries: Sequence[Account]) -> Table:
    """The accounts, a row per step."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("step", no_wrap=True)
    for name in ("in", "out", "quarantined"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("dropped", "account"):
        table.add_column(name)
    for one in entries:
        table.add_row(*_cells(one))
    return table


def _cells(one: Account) -> Iterable[str]:
    report, rows = one.report, one.report.rows
    several = len(one.came) > 1
    came = (f"{name} {count:,}" if several else f"{count:,}" for name, count in one.came.items())
    dropped = (f"{count:,} by {rule}" for rule, count in rows.dropped.items() if count)
    kind = rows.cardinality if rows.cardinality != "any" else ""
    verdict = f"✓ {kind}" if one.verdict == "balanced" else one.wrong or kind
    return (
        report.step,
        "\n".join(came),
        f"{one.went:,}" if one.went is not None else "",
        f"{rows.quarantined:,}",
        escape("\n".join(dropped)),
        f"[{COLOURS[one.verdict]}]{escape(verdict)}[/]",
    )


def _reasons(entries: Sequence[Account], run: str) -> dict[str, list[str]]:
    """Why each step ran, or from which run it was taken: the steps by the reason."""
    found: dict[str, list[str]] = {}
    for one in entries:
        report = one.report
        why = f"reused from run {report.run}" if report.run != run else "; ".join(report.why)
        found.setdefault(why or "no reason is known", []).append(report.step)
    return found


def _sum(entries: Sequence[Account]) -> str:
    read = sum(one.report.rows.read or 0 for one in entries)
    loaded = sum(one.went or 0 for one in entries if one.report.published)
    aside = sum(one.report.rows.quarantined for one in entries)
    balanced = sum(one.verdict == "balanced" for one in entries)
    return (
        f"[green]✓[/] {read:,} rows read, {loaded:,} published, {aside:,} in quarantine;"
        f" {balanced} of {len(entries)} steps have an equation, and all of these balance"
    )


def _say_unfinished(one: Asked, console: Console) -> None:
    error = one.status.error
    told = f": {error.detail}" if error else ""
    console.print(f"[red]✗[/] {one.step} has {one.status.state}{escape(told)}", soft_wrap=True)
