"""Waits for a task of a stage in the triggerer, where thousands of them hold no worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from ropewalk.contracts.errors import NotFoundError, RetryableError

from ropewalk_airflow import hook

WAIT = 25.0  # seconds of one long poll
PAUSE = 5.0  # seconds after a stage did not answer
SETTLE = 3.0  # seconds that Airflow has to note a deferral: a task that goes on sooner it takes for a failed one
PATIENCE = 60  # times that it may not, in a row


class StageTrigger(BaseTrigger):
    """Fires one small event when the task has ended: ``{"key", "after"}``; the worker reads the rest."""

    def __init__(self, conn_id: str, key: str, asker: str, after: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.key = key
        self.asker = asker
        self.after = after

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The trigger as the triggerer makes it again."""
        arguments = {
            "conn_id": self.conn_id,
            "key": self.key,
            "asker": self.asker,
            "after": self.after,
        }
        return "ropewalk_airflow.trigger.StageTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the task's end; a stage that is away for some minutes is waited for."""
        settled = asyncio.create_task(asyncio.sleep(SETTLE))
        away = 0
        while away < PATIENCE:
            try:
                status = await hook.read_later(self.conn_id, self.key, WAIT)
            except RetryableError:
                away += 1
                await asyncio.sleep(PAUSE)
            except NotFoundError:
                break
            else:
                away = 0
                if status.state.ended:
                    break
        await settled
        yield TriggerEvent({"key": self.key, "after": self.after})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cancel the task: a user has marked it failed, or cleared it."""
        await hook.cancel_later(self.conn_id, self.key, self.asker)
