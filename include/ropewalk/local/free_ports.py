"""Ports of this machine that nobody has."""

from __future__ import annotations

import secrets
import socket

from ropewalk.contracts.errors import ConfigError

# Below those that connections are given, of which any may be taken at any time.
DRAWN = range(10_000, 32_000)
TRIES = 1_000


def is_free(port: int) -> bool:
    """Whether nobody listens on that port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # a closed connection's remains do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(row: int = 1) -> int:
    """A port of 127.0.0.1 that nobody has, the first of so many in a row; drawn, so that two who ask at once hardly
    meet. ConfigError where there is none.
    """
    for _ in range(TRIES):
        first = secrets.choice(DRAWN)
        if all(is_free(port) for port in range(first, first + row)):
            return first
    raise ConfigError(f"no {row} free ports in a row between {DRAWN[0]} and {DRAWN[-1]}")
