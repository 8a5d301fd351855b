"""A TCP proxy that does what networks do: it delays, cuts and halves connections, and answers in another's place."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

LINGER_NOT = struct.pack("ii", 1, 0)  # a close resets the connection
CHUNK = 65_536

Heard = Callable[[bytes], None]


class Proxy:
    """Passes on from a port of its own to ``port`` on this machine; ``heard`` is given what comes back."""

    def __init__(self, port: int, heard: Heard | None = None) -> None:
        self.target = port
        self.passed = 0  # connections
        self.met = 0  # times that something that was asked for met somebody: a piece halved or held, an answer given
        self._heard = heard
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._flow = asyncio.Event()
        self._flow.set()
        self._halve = 0
        self._answers: list[bytes] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0)).result()
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> int:
        """Reset every connection; how many there were."""
        cut: int = self._do(self._cut()).result()
        return cut

    def halve(self, times: int = 1) -> None:
        """Pass on half of the next piece, and reset its connection: so many times."""
        self._halve = times

    def hold(self) -> None:
        """Pass on nothing until `go_on`: the other side is silent, and nobody knows why."""
        self._loop.call_soon_threadsafe(self._flow.clear)

    def go_on(self) -> None:
        """Pass on again."""
        self._loop.call_soon_threadsafe(self._flow.set)

    def answer(self, *answers: bytes) -> None:
        """Answer the next connections with these bytes, and close them."""
        self._answers += answers

    def rest(self) -> None:
        """Pass on everything again, and do nothing else."""
        self._halve = 0
        self._answers.clear()
        self.go_on()

    def close(self) -> None:
        """End it, and all its connections."""
        self.cut()
        self._do(self._stop()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut(self) -> int:
        pairs = list(self._pairs)
        for pair in pairs:
            for side in pair:
                _reset(side)
        return len(pairs)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._answers:
            answer = self._answers.pop(0)  # another may come while this one is read
            self.met += 1
            await reader.read(CHUNK)
            writer.write(answer)
            writer.close()
            return
        try:
            back, out = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)
            return
        self.passed += 1
        pair = (writer, out)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pass(reader, out, None), self._pass(back, writer, self._heard)
            )
        finally:
            self._pairs.discard(pair)
            for side in pair:
                side.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard | None
    ) -> None:
        try:
            while data := await reader.read(CHUNK):
                self.met += not self._flow.is_set()
                await self._flow.wait()
                if self._halve and len(data) > 1:
                    self._halve -= 1
                    self.met += 1
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    _reset(writer)
                    return
                if heard:
                    heard(data)
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except (OSError, RuntimeError):  # one side was reset, and so is the other
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, as a machine does that has lost its power: the other side reads an error, not an end."""
    with contextlib.suppress(OSError, AttributeError):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()
