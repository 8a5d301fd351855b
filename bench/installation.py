"""The installation that ``make up`` has started on this machine, where one runs."""

from __future__ import annotations

from ropewalk.local.home import Home
from ropewalk.local.status import states

BESIDE = (
    "An installation runs on the same cores and takes its share of them. It is what d, e and f measure; for the"
    " others: make down"
)


def airflow_runs() -> bool:
    """Whether its scheduler does."""
    found = states(Home.from_environment())
    return any(state.running and state.name == "airflow-scheduler" for state in found)
