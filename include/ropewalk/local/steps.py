"""Steps that depend on each other, done in parallel, each shown with its outcome and its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Work = Callable[[], str | None]


@dataclass(frozen=True)
class Step:
    """A named piece of work: it returns what to show beside its title, or None where it had
    nothing to do.
    """

    name: str
    title: str
    work: Work
    after: tuple[str, ...] = ()


def run(steps: Sequence[Step], console: Console) -> None:
    """Does every step as soon as those before it are done; raises the first failure when what runs
    has ended.

    A name in ``after`` that is no step here counts as done.
    """
    left, done = (
        list(steps),
        {name for step in steps for name in step.after} - {step.name for step in steps},
    )
    running: dict[Future[None], Step] = {}
    failures: list[BaseException] = []
    with progress(console) as shown, ThreadPoolExecutor(len(steps) or 1) as pool:
        while running or (left and not failures):
            for step in [step for step in left if done.issuperset(step.after) and not failures]:
                left.remove(step)
                running[pool.submit(_do, step, shown)] = step
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            done.update(running.pop(future).name for future in ended)
            failures += [error for future in ended if (error := future.exception()) is not None]
    if failures:
        raise failures[0]


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    """A display of what is being done now, on a terminal; nothing of it stays."""
    columns = (
        TextColumn(" "),
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        yield shown


def _do(step: Step, shown: Progress) -> None:
    task, started = shown.add_task(step.title, total=None), time.monotonic()
    outcome: str | None = None
    mark = "[red]✗[/]"
    try:
        outcome, mark = step.work(), "[green]✓[/]"
    except BaseException:
        outcome = "failed"
        raise
    finally:
        shown.remove_task(task)
        if outcome is not None:
            spent = time.monotonic() - started
            shown.console.print(
                f"  {mark} {escape(step.title)} [dim]{escape(outcome)}  {spent:.1f} s[/]",
                highlight=False,
            )
