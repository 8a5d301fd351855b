"""Who may call a route: each says what right it wants, or that it is open; a token is checked before a body is read."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.routing import APIRoute

from ropewalk.contracts.errors import ForbiddenError, RopewalkError, UnauthorizedError
from ropewalk.kernel.tokens import Grant, Verifier, refused

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Closed(APIRoute):
    """A route that answers only to a token with its right; see `closed`."""

    right: ClassVar[str]

    def get_route_handler(self) -> Handler:
        """The route's handler behind the check of the token."""
        handler = super().get_route_handler()

        async def checked(request: Request) -> Response:
            require(request, self.right.format(**request.path_params))
            return await handler(request)

        return checked


class Open(APIRoute):
    """A route that answers to anyone: it must tell nothing."""


def closed(right: str) -> type[Closed]:
    """The class of routes that want a right, such as ``describe``; in ``task:{key}`` the key is the path's."""
    return type("Closed", (Closed,), {"right": right})


def require(request: Request, right: str) -> Grant:
    """What the request's token allows; UnauthorizedError or ForbiddenError unless that is the right."""
    verifier: Verifier = request.app.state.verifier
    try:
        grant = verifier.grant(request.headers.get("authorization", ""))
        grant.need(right)
    except (UnauthorizedError, ForbiddenError) as error:
        log_refused(request, error)
        raise
    return grant


def log_refused(request: Request, error: RopewalkError) -> None:
    """Say in the service's log that a request was refused."""
    client = request.client.host if request.client else ""
    refused(error, place=f"{request.method} {request.url.path}", client=client)
