"""``make status``: what runs, on which port, since when, and how much memory it has to itself."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil
from rich.table import Table

from ropewalk.local import processes
from ropewalk.local.home import Home
from ropewalk.local.ports import remembered
from ropewalk.local.services import NAMES, port_names


@dataclass(frozen=True)
class State:
    """One service as it is now; ``pss`` is in bytes, of all its processes, shared pages counted in
    proportion.
    """

    name: str
    running: bool
    pid: int | None = None
    port: int | None = None
    seconds: float = 0
    processes: int = 0
    pss: int = 0


def states(home: Home) -> list[State]:
    """The state of every service."""
    ports = remembered(home)
    return [
        _state(home, name, next((ports.get(p) for p in port_names().get(name, ())), None))
        for name in NAMES
    ]


def status(home: Home) -> Table:
    """The states as a table with a total."""
    found = states(home)
    table = Table(box=None, header_style="bold", show_footer=True)
    table.add_column("service", footer="total", no_wrap=True)
    table.add_column(
        "state", footer=f"{sum(s.running for s in found)} of {len(found)} run", no_wrap=True
    )
    for name in ("pid", "port", "up"):
        table.add_column(name, justify="right")
    table.add_column("procs", justify="right", footer=str(sum(s.processes for s in found)))
    table.add_column("PSS", justify="right", footer=_mib(sum(s.pss for s in found)))
    for s in found:
        if s.running:
            row = [
                str(s.pid),
                str(s.port or ""),
                _duration(s.seconds),
                str(s.processes),
                _mib(s.pss),
            ]
            table.add_row(s.name, "[green]running[/]", *row)
        else:
            table.add_row(s.name, "[red]ended[/]" if s.pid else "[dim]not running[/]")
    return table


def _state(home: Home, name: str, port: int | None) -> State:
    record = processes.read(home, name)
    if record is None or not record.alive:
        return State(name, running=False, pid=record.pid if record else None)
    family = processes.members(record)
    since = psutil.Process(record.pid).create_time()
    return State(name, True, record.pid, port, time.time() - since, len(family), _pss(family))


def _pss(family: Iterable[psutil.Process]) -> int:
    total = 0
    for process in family:
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def _mib(size: int) -> str:
    return f"{size / 1024**2:,.0f} MiB"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
