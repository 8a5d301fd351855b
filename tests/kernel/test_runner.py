"""A replica's work: which tasks it takes, and when it looks for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import SecretStr
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
