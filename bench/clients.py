"""The clients of (i), in a process of their own: each asks for a new task, and how it stands, again and again."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import sys
import time
from dataclasses import dataclass, field

from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import RunInfo, TaskRequest, Use

LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


@dataclass
class Clients:
    """Many clients of one stage, each with a connection that it keeps; ``times`` are those of their requests."""

    host: str
    port: int
    token: str
    seconds: float
    times: list[float] = field(default_factory=list)

    async def run(self, number: int) -> None:
        """Have them ask for so many seconds."""
        until = time.perf_counter() + self.seconds
        await asyncio.gather(*(self._ask(until) for _ in range(number)))

    async def _ask(self, until: float) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        more = True
        while more:
            request = _request()
            path, body = f"/v1/tasks/{task_key(request)}", request.model_dump_json().encode()
            for method, content in (("PUT", body), ("GET", b"")):
                started = time.perf_counter()
                writer.write(self._message(method, path, content))
                await _answer(reader)
                self.times.append(time.perf_counter() - started)
            more = time.perf_counter() < until
        writer.close()

    def _message(self, method: str, path: str, body: bytes) -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {self.host}\r\nauthorization: Bearer {self.token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


async def _answer(reader: asyncio.StreamReader) -> None:
    """Reads an answer to its end; one that is no success ends it all."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = LENGTH.search(head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    if not head.startswith(b"HTTP/1.1 2"):
        raise RuntimeError(f"{head.splitlines()[0].decode()}: {body.decode()}")


def _request() -> TaskRequest:
    return TaskRequest(
        workflow="bench", step="one", stage="process", do=[Use(plugin="sql", options={"query": "SELECT 1 AS n"})],
        generation=secrets.token_hex(8), run=RunInfo(id="bench"),
    )  # fmt: skip


def main() -> None:
    """Does what standard input orders, and prints how long it took, and every request."""
    order = json.load(sys.stdin)
    number = order.pop("number")
    clients = Clients(**order)
    started = time.perf_counter()
    asyncio.run(clients.run(number))
    print(json.dumps({"seconds": time.perf_counter() - started, "times": clients.times}))


if __name__ == "__main__":
    main()
