"""Timing of rivals: in turn, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median

from rich.console import Console

Run = Callable[[], object]


def alternate(console: Console, rivals: Mapping[str, Run], rounds: int) -> dict[str, float]:
    """The median seconds of each rival over ``rounds`` rounds, in each of which all run once."""
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(1, rounds + 1):
        for name, run in rivals.items():
            with console.status(f"round {number} of {rounds}: {name}"):
                taken[name].append(seconds(run))
    return {name: median(times) for name, times in taken.items()}


def seconds(run: Run) -> float:
    """How long it takes; garbage of the one before is not counted."""
    gc.collect()
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
