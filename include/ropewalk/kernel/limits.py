"""What one caller may ask for before a stage looks at it: how large, how slowly, and how much at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ropewalk.contracts.errors import BusyError, ContractError, NotFoundError, Problem
from ropewalk.contracts.models import State
from ropewalk.kernel.ledger import Ledger
from ropewalk.kernel.settings import Settings

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MAX_HEAD = 32 * 1024  # bytes of a request's line and headers
COUNTED_ANEW = 1.0  # seconds after which the queue is counted again
COME_AGAIN = 30.0  # seconds that a caller is asked to wait where the queue is full


class Refused(HTTPException):
    """An answer from within the reading of a body, as a problem document."""

    def __init__(self, status: HTTPStatus, code: str, detail: str, hint: str) -> None:
        super().__init__(status, detail)
        self.problem = Problem(
            title=ContractError.title, status=status, code=code, detail=detail, hint=hint
        )


class Limit:
    """Refuses a request whose body is larger than ``max_body``, whatever it says of its length, or comes too slowly."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], settings: Settings
    ) -> None:
        self.app, self.most, self.seconds = app, settings.max_body, settings.request_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count its body as it comes."""
        await self.app(scope, self._bounded(receive) if scope["type"] == "http" else receive, send)

    def _bounded(self, receive: Receive) -> Receive:
        seen, whole = 0, False
        deadline = asyncio.get_running_loop().time() + self.seconds

        async def bounded() -> dict[str, Any]:
            nonlocal seen, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if seen > self.most:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> Refused:
        told, hint = f"a request may have {self.most} bytes", "raise ROPEWALK_MAX_BODY of the stage"
        return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", told, hint)

    def _too_slow(self) -> Refused:
        told = f"the request has not come whole in {self.seconds:g} s"
        hint = "raise ROPEWALK_REQUEST_SECONDS of the stage"
        return Refused(HTTPStatus.REQUEST_TIMEOUT, "too_slow", told, hint)


def bounded_protocol(settings: Settings) -> type[HttpToolsProtocol]:
    """The protocol of connections that bring a request's head within the settings' ``request_seconds``."""
    return type("_Bounded", (_Bounded,), {"seconds": settings.request_seconds})


class _Bounded(HttpToolsProtocol):
    """Uvicorn by itself waits for a head for ever, and keeps whatever comes of it."""

    seconds: float
    _late: asyncio.TimerHandle | None = None  # set while a head is awaited
    _head = 0  # bytes that came meanwhile

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Await the first request's head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take in what came, unless it is too much of a head."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()
        self._head += len(data)
        super().data_received(data)
        if self._late is not None and self._head > MAX_HEAD:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """The head is there: what comes now is the body's."""
        self._await_no_more()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._await_no_more()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._late is None:
            late = HTTPStatus.REQUEST_TIMEOUT
            self._head, self._late = 0, self.loop.call_later(self.seconds, self._refuse, late)

    def _await_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, status: HTTPStatus) -> None:
        self._await_no_more()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode())
        self.transport.close()


class Room:
    """How many tasks may wait at a stage; counted in the ledger each second, and in between by what comes here."""

    def __init__(self, ledger: Ledger, most: int) -> None:
        self.ledger, self.most = ledger, most
        self._queued, self._counted = 0, float("-inf")

    async def need(self, key: str) -> None:
        """BusyError where the queue is full, unless the task is in the ledger already."""
        if self._queued >= self.most or time.monotonic() - self._counted > COUNTED_ANEW:
            self._counted = time.monotonic()
            self._queued = await self.ledger.queued()
        if self._queued >= self.most and not await self._is_known(key):
            raise BusyError(
                f"{self._queued} tasks wait at this stage: it takes no more",
                code="queue_full",
                retry_after=COME_AGAIN,
                hint="start more replicas, or raise ROPEWALK_MAX_QUEUED",
            )
        self._queued += 1

    async def _is_known(self, key: str) -> bool:
        with suppress(NotFoundError):
            return (await self.ledger.read(key)).state in {
                State.QUEUED,
                State.RUNNING,
                State.SUCCEEDED,
            }
        return False
