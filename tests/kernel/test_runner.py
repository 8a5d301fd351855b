"""A replica's work: which tasks it takes, and when it looks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from ropewalk.contracts.errors import Problem
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import Report, TaskRequest
from ropewalk.kernel.ledger import Ledger, Row
from ropewalk.kernel.migrations import migrate
from ropewalk.kernel.runner import Runner
from ropewalk.kernel.settings import Settings

from tests.conftest import Postgres
from tests.kernel.conftest import EXAMPLE


class Busy(Ledger):
    """A ledger in which a task comes while the replica looks for the first time, too late for that look to see it."""

    runner: Runner
    first, again = True, asyncio.Event()

    async def claim(self, owner: str, lease: float) -> Row | None:
        """As `Ledger.claim`."""
        row = await super().claim(owner, lease)
        if self.first:
            self.first = False
            self.runner.wake.set()  # as the listener does
        else:
            self.again.set()
        return row


def test_a_task_that_comes_during_a_look_is_looked_for_again(
    postgres: Postgres, tmp_path: Path
) -> None:
    """With a lease of an hour, the next look by itself would come after 20 minutes."""
    url = postgres.database().stage("collect")
    migrate(url, "collect")
    settings = Settings(
        database_url=SecretStr(url), scratch_dir=tmp_path, lease_seconds=3600, stage="collect"
    )

    async def look_twice() -> None:
        ledger = Busy.at(url, "collect")
        assert isinstance(ledger, Busy)
        ledger.runner = runner = Runner(EXAMPLE, settings, ledger)
        async with ledger.pool:
            working = asyncio.create_task(runner.work())
            await asyncio.wait_for(ledger.again.wait(), 20)
            working.cancel()
            await asyncio.wait([working])

    asyncio.run(look_twice())


class Strict(Ledger):
    """A ledger whose database refuses every report, and before that is away once."""

    been_away = False

    async def end(self, *said: Any, **more: Any) -> bool:
        """As `Ledger.end`, whose arguments are the key, the attempt, its outcome, the progress and the lines."""
        if isinstance(said[2], Report):
            away, self.been_away = not self.been_away, True
            raise psycopg.OperationalError if away else psycopg.DataError
        return await super().end(*said, **more)


class Mute(Ledger):
    """A ledger whose database refuses every line of a log."""

    async def add_lines(self, *_: object) -> None:
        """As `Ledger.add_lines`."""
        raise psycopg.DataError

    async def end(self, *said: Any, **more: Any) -> bool:
        """As `Ledger.end`, whose arguments are the key, the attempt, its outcome, the progress and the lines."""
        if said[4]:
            raise psycopg.DataError
        return await super().end(*said, **more)


@pytest.mark.parametrize(("kind", "told"), [(Strict, "refused"), (Mute, None)])
def test_an_attempt_whose_words_the_database_refuses_ends_and_frees_its_place(
    postgres: Postgres,
    tmp_path: Path,
    ask: Callable[..., TaskRequest],
    kind: type[Ledger],
    told: str | None,
) -> None:
    """What is refused once is refused each time: without its report a task has failed, without its log it has not."""
    url = postgres.database().stage("collect")
    migrate(url, "collect")
    settings = Settings(
        database_url=SecretStr(url), stage="collect", store_url=(tmp_path / "store").as_uri(),
        scratch_dir=tmp_path, workers=1, lease_seconds=60,
    )  # fmt: skip
    requests = [ask(), ask()]

    async def both() -> list[Problem | None]:
        ledger = kind.at(url, "collect")
        runner = Runner(f"{EXAMPLE}.stage", settings, ledger)
        async with ledger.pool:
            keys = [(await ledger.submit(task_key(one), one)).key for one in requests]
            working = asyncio.create_task(runner.work())
            try:
                async with asyncio.timeout(50):
                    while not all([(await ledger.read(key)).state.ended for key in keys]):  # noqa: ASYNC110 - nobody listens here
                        await asyncio.sleep(0.05)
            finally:
                working.cancel()
                await asyncio.wait([working])
            return [(await ledger.read(key)).error for key in keys]

    for error in asyncio.run(both()):
        assert (error and error.code) == told
        assert error is None or (not error.retryable and "DataError" in error.detail)
