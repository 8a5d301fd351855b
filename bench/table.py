"""What a benchmark found, and the table that shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """Ours, in ``unit``; beside the other's, and held against ``target``, where there are such."""

    what: str
    ours: float
    against: str = ""
    other: float | None = None
    target: float | None = None
    unit: str = "s"
    sense: Literal["at most", "at least"] = "at most"
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times the other ours takes; or, ``at least``, how many times as fast it is."""
        if self.other is None:
            return None
        share = self.ours / self.other
        return share if self.sense == "at most" else 1 / share

    @property
    def holds(self) -> bool | None:
        """Whether the target is met."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio <= self.target if self.sense == "at most" else self.ratio >= self.target


@dataclass(frozen=True)
class Skipped:
    """A benchmark that could not run, and what it wants."""

    what: str
    why: str


def show(console: Console, title: str, found: Iterable[Figure | Skipped]) -> None:
    """Prints a benchmark's figures as one table."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("", "ours", "against", "", "ratio", "target", ""):
        table.add_column(name, justify="right" if name in {"ours", "ratio"} else "left")
    for column in (table.columns[1], *table.columns[3:]):
        column.no_wrap = True  # in a narrow place the names are folded, and no figure is cut
    notes = []
    for figure in found:
        if isinstance(figure, Skipped):
            notes.append(f"{figure.what} skipped: {figure.why}")
            continue
        table.add_row(*_row(figure))
        notes += [figure.note] if figure.note else []
    console.print(table)
    for note in dict.fromkeys(notes):
        console.print(f"[dim]{note}[/]")
    console.print()


def _row(figure: Figure) -> tuple[str, ...]:
    verdict = {True: "[green]holds[/]", False: "[red]misses[/]", None: ""}[figure.holds]
    return (
        figure.what,
        f"{figure.ours:,.2f} {figure.unit}",
        figure.against,
        "" if figure.other is None else f"{figure.other:,.2f} {figure.unit}",
        "" if figure.ratio is None else f"{figure.ratio:,.2f} x",
        "" if figure.target is None else f"{figure.sense} {figure.target:g} x",
        verdict,
    )
