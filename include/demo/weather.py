"""A weather service such as one meets: paged, with a key, and now and then too busy.

``python -m demo.weather`` serves ``GET /observations`` on the port ``DEMO_WEATHER_PORT`` to who sends
``DEMO_WEATHER_TOKEN`` as ``X-Api-Key``. Every 13th answer is a 429 or a 503 in turn
(``DEMO_WEATHER_BUSY_EVERY``; 0 is never).
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Query, Request, Response
from pydantic import AwareDatetime

from demo.observations import Observations

BUSY_EVERY = 13
PAGE, LARGEST_PAGE = 100, 5_000

Moment = Annotated[AwareDatetime | None, Query(description="with its offset from UTC")]


@dataclass
class Service:
    """What the API serves, to whom, and how often it is too busy to."""

    token: str
    busy_every: int = BUSY_EVERY
    observations: Observations = field(default_factory=Observations)
    requests: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def admit(self, key: str) -> None:
        """Refuses a wrong key; and whoever comes at a busy moment."""
        if not secrets.compare_digest(key.encode(), self.token.encode()):
            raise HTTPException(HTTPStatus.UNAUTHORIZED, "X-Api-Key is wrong")
        turns, rest = divmod(next(self.requests), self.busy_every or 1)
        if self.busy_every and not rest:
            raise _busy(turns)


def application(service: Service) -> FastAPI:
    """The API of a service."""
    app = FastAPI(
        title="Weather at New York's airports, 2013",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/observations")
    def observations(
        request: Request,
        x_api_key: Annotated[str, Header()] = "",
        since: Moment = None,
        until: Moment = None,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        """The hours in ``[since, until)``, oldest first; ``Link`` names the next page."""
        service.admit(x_api_key)
        page, more = service.observations.page(since, until, offset, limit)
        links = {"Link": _link(request, since, until, offset + limit, limit)} if more else {}
        body = '{"data":[' + ",".join(page) + "]}"
        return Response(body, headers=links, media_type="application/json")

    return app


def _busy(turn: int) -> HTTPException:
    status = HTTPStatus.TOO_MANY_REQUESTS if turn % 2 else HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPException(status, "busy: come again", headers={"Retry-After": "1"})


def _link(
    request: Request, since: datetime | None, until: datetime | None, offset: int, limit: int
) -> str:
    span = {"since": since, "until": until}
    query = {name: moment.isoformat() for name, moment in span.items() if moment}
    url = request.url.replace(query=urlencode({**query, "limit": limit, "offset": offset}))
    return f'<{url}>; rel="next"'


def main() -> None:
    """Serves from the environment's settings."""
    busy_every = int(os.environ.get("DEMO_WEATHER_BUSY_EVERY", BUSY_EVERY))
    service = Service(os.environ["DEMO_WEATHER_TOKEN"], busy_every)
    uvicorn.run(
        application(service),
        host=os.environ.get("DEMO_WEATHER_HOST", "127.0.0.1"),
        port=int(os.environ["DEMO_WEATHER_PORT"]),
        access_log=False,
    )


if __name__ == "__main__":
    main()
