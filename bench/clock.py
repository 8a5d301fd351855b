"""Timing of rivals: in turn, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median

from rich.console import Console

Run = Callable[[], object]


def alternate(console: Console, rivals: Mapping[str, Run], rounds: int) -> dict[str, float]:
    """The median seconds of each rival over ``rounds`` rounds, in each of which all run once.

    Every other round goes the other way round: what one leaves behind is then not always the same one's to bear.
    """
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(1, rounds + 1):
        for name in list(rivals)[:: 1 if number % 2 else -1]:
            with console.status(f"round {number} of {rounds}: {name}"):
                taken[name].append(seconds(rivals[name]))
    return {name: median(times) for name, times in taken.items()}


def seconds(run: Run) -> float:
    """How long it takes; garbage of the one before is not counted."""
    gc.collect()
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
