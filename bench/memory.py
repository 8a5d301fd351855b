"""(e) The memory of the running stack, by process: PSS, in which shared pages are counted once in all."""

from __future__ import annotations

from collections.abc import Iterator

from ropewalk.local.home import Home
from ropewalk.local.status import states

from bench.options import Options
from bench.table import Figure, Skipped

TITLE = "(e) memory of the running stack"
MB = 1_000_000
LIMIT = 2_200  # MB


def run(_: Options) -> Iterator[Figure | Skipped]:
    """Reads what `make up` has started."""
    running = [state for state in states(Home.from_environment()) if state.running]
    if not running:
        yield Skipped("idle PSS", "nothing runs (make up)")
        return
    for state in running:
        what = f"{state.name} ({state.processes} processes)" if state.processes > 1 else state.name
        yield Figure(what, state.pss / MB, unit="MB")
    total = sum(state.pss for state in running) / MB
    yield Figure("all", total, "limit", LIMIT, target=1, unit="MB")
