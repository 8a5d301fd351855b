"""``make down``: stops every process of the installation, Postgres last."""

from __future__ import annotations

import signal
from functools import partial

from rich.console import Console

from ropewalk.local import processes
from ropewalk.local.home import Home
from ropewalk.local.services import SIGNALS
from ropewalk.local.steps import Step, run


def down(home: Home, console: Console) -> None:
    """Stops what the installation's records name: no other process, whatever its name."""
    names = processes.recorded(home)
    others = tuple(name for name in names if name != "postgres")
    steps = [Step(name, name, partial(_stop, home, name)) for name in others]
    if "postgres" in names:
        steps.append(Step("postgres", "postgres", partial(_stop, home, "postgres"), others))
    run(steps, console)
    if not names:
        console.print("  nothing runs")


def stop(home: Home, name: str) -> bool:
    """Stops a service in the way that it wants it; False where it had ended."""
    return processes.stop(home, name, by=SIGNALS.get(name, signal.SIGTERM))


def _stop(home: Home, name: str) -> str:
    return "stopped" if stop(home, name) else "had ended"
