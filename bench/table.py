"""What a benchmark found, and the table that shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """Ours beside the other's, in ``unit``; ``ratio`` is held against ``target``, where there is
    one.
    """

    what: str
    ours: float
    against: str
    other: float
    target: float | None = None
    unit: str = "s"
    sense: Literal["at most", "at least"] = "at most"
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times the other ours takes; or, ``at least``, how many times as fast it is."""
        share = self.ours / self.other
        return share if self.sense == "at most" else 1 / share

    @property
    def holds(self) -> bool:
        """Whether the target is met."""
        if self.target is None:
            return True
        ratio = self.ratio
        return ratio <= self.target if self.sense == "at most" else ratio >= self.target


@dataclass(frozen=True)
class Skipped:
    """A benchmark that could not run, and what it wants."""

    what: str
    why: str


def show(console: Console, title: str, found: Iterable[Figure | Skipped]) -> None:
    """Prints a benchmark's figures as one table."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("", "ours", "against", "", "ratio", "target", ""):
        table.add_column(
            name, no_wrap=True, justify="right" if name in {"ours", "ratio"} else "left"
        )
    notes = []
    for figure in found:
        if isinstance(figure, Skipped):
            table.add_row(figure.what, "", "", "", "", "", f"[yellow]skipped: {figure.why}[/]")
            continue
        table.add_row(*_row(figure))
        notes += [figure.note] if figure.note else []
    console.print(table)
    for note in dict.fromkeys(notes):
        console.print(f"[dim]{note}[/]")
    console.print()


def _row(figure: Figure) -> tuple[str, ...]:
    target = ("", "")
    if figure.target is not None:
        verdict = "[green]holds[/]" if figure.holds else "[red]misses[/]"
        target = (f"{figure.sense} {figure.target:g} x", verdict)
    return (
        figure.what,
        f"{figure.ours:,.2f} {figure.unit}",
        figure.against,
        f"{figure.other:,.2f} {figure.unit}",
        f"{figure.ratio:,.2f} x",
        *target,
    )
