"""The ports of an installation: the same ones at every start, others where somebody else has taken
them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ropewalk.contracts.errors import ConfigError
from ropewalk.local.databases import STAGES
from ropewalk.local.free_ports import is_free
from ropewalk.local.home import Home, write_private

NAMES = ("airflow", *STAGES, *(f"{stage}_flight" for stage in STAGES), "weather", "postgres")
STEP = 20  # the distance from a taken port to the one that is tried next
FILE = "ports.json"


@dataclass(frozen=True)
class Plan:
    """A port for every name, and what had to move: name, the port wanted, the port given."""

    ports: Mapping[str, int]
    moved: tuple[tuple[str, int, int], ...] = ()


def plan(
    base: int,
    known: Mapping[str, int],
    running: Collection[str],
    free: Callable[[int], bool],
) -> Plan:
    """A port for each of ``NAMES``: the remembered one, else ``base`` and up; another where it is
    taken.

    A name in ``running`` keeps its port: what listens there is its own.
    """
    ports = {name: known[name] for name in NAMES if name in running and name in known}
    moved = []
    for number, name in enumerate(NAMES):
        if name in ports:
            continue
        wanted = known.get(name, base + number)
        ports[name] = _first_free(
            wanted, set(ports.values()) | (set(known.values()) - {wanted}), free
        )
        if ports[name] != wanted:
            moved.append((name, wanted, ports[name]))
    return Plan({name: ports[name] for name in NAMES}, tuple(moved))


def settle(home: Home, running: Collection[str]) -> Plan:
    """The plan for an installation, remembered for the next start; a new ``ROPEWALK_PORT_BASE``
    starts afresh.
    """
    known = _read(home)
    ports = known.get("ports", {})
    if known.get("base") != home.port_base:
        ports = {name: port for name, port in ports.items() if name in running}
    settled = plan(home.port_base, ports, running, is_free)
    write_private(
        home.path / FILE,
        json.dumps({"base": home.port_base, "ports": settled.ports}, indent=2) + "\n",
    )
    return settled


def remembered(home: Home) -> dict[str, int]:
    """The ports that the last start gave, by name."""
    ports: dict[str, int] = _read(home).get("ports", {})
    return ports


def _read(home: Home) -> dict[str, Any]:
    path = home.path / FILE
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _first_free(wanted: int, reserved: Iterable[int], free: Callable[[int], bool]) -> int:
    taken = set(reserved)
    for port in range(wanted, 65536, STEP):
        if port not in taken and free(port):
            return port
    raise ConfigError(f"no free port from {wanted} up", hint="set ROPEWALK_PORT_BASE")
