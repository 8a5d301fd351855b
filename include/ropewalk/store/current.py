"""Which tasks' rows the published tables hold now."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

import psycopg

from ropewalk.contracts.errors import RetryableError
from ropewalk.contracts.models import TaskRequest
from ropewalk.contracts.plugins import plugin
from ropewalk.store import sessions


def current(requests: Iterable[TaskRequest]) -> set[str]:
    """The keys of tasks whose loads are current in a database that one of these requests has loaded into."""
    names = {name for request in requests for name in _connections(request)}
    return {key for name in sorted(names) for key in _loads(name)}


def _connections(request: TaskRequest) -> Iterable[str]:
    for use in request.do:
        if use.plugin == "postgres":
            options = plugin("sink", use.plugin).parse(use.options)
            yield from (options.database(step) for step in request.inputs)


def _loads(name: str) -> list[str]:
    """RetryableError where the database cannot say: then nothing may be taken for unused."""
    try:
        with closing(sessions.connect(name, "ropewalk:garbage")) as database:
            made = database.execute("SELECT to_regclass('ropewalk.load') IS NOT NULL").fetchone()
            if made != (True,):
                return []
            query = "SELECT DISTINCT task FROM ropewalk.load WHERE state = 'current'"
            return [key for (key,) in database.execute(query)]
    except psycopg.Error as error:
        raise RetryableError(
            f"the database of {name!r} does not say what it holds ({type(error).__name__})",
            code="database_away",
        ) from None
