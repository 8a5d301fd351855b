"""Keeps a stage's Flight server alive, in a child process: native code reads foreign streams there."""

from __future__ import annotations

import asyncio
import multiprocessing
from typing import Any

import structlog

from ropewalk.kernel.settings import Settings

log = structlog.get_logger()


class FlightProcess:
    """The Flight server of one replica, started again whenever it dies."""

    def __init__(self, path: str, settings: Settings) -> None:
        self.path = path
        self.settings = settings
        self._context = multiprocessing.get_context("forkserver")

    async def keep(self) -> None:
        """Run the server until cancelled."""
        while True:
            process: Any = self._context.Process(
                target=run_flight, args=(self.settings,), daemon=True
            )
            await asyncio.to_thread(process.start)
            try:
                await self._until_gone(process)
            finally:
                process.kill()
                process.join()
            log.error("flight.died", exit=process.exitcode)
            await asyncio.sleep(1)

    async def _until_gone(self, process: Any) -> None:
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(process.sentinel, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(process.sentinel)


def run_flight(settings: Settings) -> None:
    """The child's whole life."""
    from ropewalk.kernel.child import bind_to_parent, limit_memory
    from ropewalk.kernel.flight import serve
    from ropewalk.kernel.log import log_as_json

    bind_to_parent()
    limit_memory(
        settings.memory_limit
    )  # gRPC takes in a whole message before anyone is asked for a token
    log_as_json(settings)
    serve(settings)
