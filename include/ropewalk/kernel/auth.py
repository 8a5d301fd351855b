"""Who may call a stage: every route is closed, and says so before it reads a body, unless it is marked open."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from ropewalk.contracts.errors import UnauthorizedError
from ropewalk.kernel.tokens import bears

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Closed(APIRoute):
    """A route that answers only to the installation's token."""

    def get_route_handler(self) -> Handler:
        """The route's handler behind the check of the token."""
        handler = super().get_route_handler()

        async def checked(request: Request) -> Response:
            require_token(request)
            return await handler(request)

        return checked


class Open(APIRoute):
    """A route that answers to anyone: it must tell nothing."""


def require_token(request: Request) -> None:
    """UnauthorizedError unless the request carries the installation's token."""
    if not bears(request.headers.get("authorization", ""), request.app.state.settings.token):
        raise UnauthorizedError(
            "this stage answers only to a request with its installation's token"
        )
