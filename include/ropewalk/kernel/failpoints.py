"""Named points at which a test may kill, stop, hang or fail the product; in production each costs one comparison.

``ROPEWALK_FAILPOINT=<point>:<action>[:<times>]``, or ``@<file>`` that holds such a line and may change while the
product runs. Actions: ``kill`` (SIGKILL of the process), ``stop`` (SIGSTOP), ``hang`` and ``raise`` (an `OSError`).
Every hit is a line in the file that ``ROPEWALK_FAILPOINT_HITS`` names, which also counts the ``times`` (1) over all
processes.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

SPEC = os.environ.get("ROPEWALK_FAILPOINT", "")
HITS = os.environ.get("ROPEWALK_FAILPOINT_HITS", "")


def failpoint(name: str) -> None:
    """Do here what the environment says."""
    if SPEC:
        _reach(name)


def _reach(name: str) -> None:
    wanted, action, times = _spec()
    if wanted != name or (HITS and _hit(name) > times):
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "hang":
        time.sleep(3600)
    elif action == "raise":
        raise OSError(errno.EIO, f"failpoint {name}")


def _spec() -> tuple[str, str, int]:
    text = SPEC
    if text.startswith("@"):
        path = Path(text[1:])
        text = path.read_text(encoding="ascii").strip() if path.exists() else ""
    point, action, times = (*text.split(":"), "", "", "")[:3]
    return point, action, int(times or 1)


def _hit(name: str) -> int:
    """Write a hit down; the how manieth of this point it is."""
    path = Path(HITS)
    with path.open("ab") as file:
        file.write(f"{name} {os.getpid()}\n".encode("ascii"))
    return sum(line.split()[0] == name for line in path.read_text(encoding="ascii").splitlines())
