"""``ropewalk gc``: what nobody uses any more is removed now."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ropewalk.cli.stages import collect


def show_collected(console: Console, *, dry_run: bool) -> None:
    """Have every stage collect its garbage; a table of what each has removed, or would."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("would be" if dry_run else "")
    for name in ("marked", "removed", "files", "tasks"):
        table.add_column(name, justify="right")
    for stage, found in collect(dry_run=dry_run).items():
        if found.busy:
            table.add_row(stage, "busy: it collects already")
            continue
        counts = (found.marked, found.removed, found.files, found.tasks)
        table.add_row(stage, *(f"{count:,}" for count in counts))
    console.print(table)
