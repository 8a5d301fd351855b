"""The pages in a browser: all workflows, a workflow's runs, a run's report and its files. None is open."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from pydantic import SecretStr

from ropewalk.contracts.errors import (
    BusyError,
    NotFoundError,
    RopewalkError,
    UnauthorizedError,
)
from ropewalk.contracts.models import MetricFormat
from ropewalk.kernel.app import Service
from ropewalk.kernel.aside import aside
from ropewalk.kernel.auth import log_refused, require
from ropewalk.present import html
from ropewalk.present.charting import SCHEMA
from ropewalk.present.digits import is_number, written
from ropewalk.present.pictures import KINDS, drawn

ROOT = "/reports"
PAGE = "index.html"
LATEST = "latest"
MOST_RUNS = 400
MOST_TICKS = 8
DRAWN_AT_ONCE = 2
DRAWN_SOON = 20  # pictures that may wait to be drawn
PATIENCE = 30.0  # seconds for a picture

Row = dict[str, Any]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
WorkflowName = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
RunId = Annotated[str, Path(max_length=250)]
FileName = Annotated[str, Path(pattern=r"^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,200}$")]

WORKFLOWS = """
SELECT DISTINCT ON (a.workflow) a.workflow, a.run_id, t.partition, t.ended_at,
    t.request -> 'run' ->> 'title' AS title, count(*) OVER (PARTITION BY a.workflow) AS reports
FROM asked a JOIN task t USING (key) WHERE t.state = 'succeeded'
ORDER BY a.workflow, a.requested DESC
"""
RUNS = """
SELECT a.run_id, a.step, a.key, t.partition, t.ended_at, t.report -> 'metrics' AS metrics,
    t.report -> 'formats' AS formats,
    t.request -> 'run' ->> 'title' AS title
FROM asked a JOIN task t USING (key)
WHERE a.workflow = %(workflow)s AND t.state = 'succeeded' AND (%(run)s::text IS NULL OR a.run_id = %(run)s)
ORDER BY a.requested DESC, t.ended_at DESC LIMIT %(limit)s
"""


def routes(service: Service) -> APIRouter:
    """The routes; each answers only to the installation's token, or to a browser that has shown the view key."""
    router = APIRouter(prefix=ROOT, route_class=_viewed(service), include_in_schema=False)
    files = _Files(service)

    @router.get("/")
    async def index() -> Response:
        found = await service.ledger.rows(WORKFLOWS, {})
        return _html(html.page("index.html", title="Reports", workflows=found))

    @router.get("/{workflow}/")
    async def history(request: Request, workflow: WorkflowName) -> Response:
        found = await _runs(service, workflow, limit=MOST_RUNS)
        inside = _of_a_program(request)
        return _html(_history(workflow, found, "" if inside else f"{ROOT}/"))

    @router.get("/{workflow}/{run_id}/")
    async def report(workflow: WorkflowName, run_id: RunId) -> Response:
        return await files.send(await _runs(service, workflow, run_id), PAGE)

    @router.get("/{workflow}/{run_id}/{file}")
    async def file(workflow: WorkflowName, run_id: RunId, file: FileName) -> Response:
        return await files.send(await _runs(service, workflow, run_id), file)

    return router


def _viewed(service: Service) -> type[APIRoute]:
    """The class of routes that are for viewers only, and that tell errors as a page."""

    class Viewed(APIRoute):
        right = "reports"  # of a token; or the view key

        def get_route_handler(self) -> Handler:
            handler = super().get_route_handler()

            async def checked(request: Request) -> Response:
                try:
                    return _admit(request, service) or await handler(request)
                except RopewalkError as error:
                    text = html.page(
                        "message.html",
                        title=_TITLES.get(error.status, "No report"),
                        text=str(error),
                    )
                    again = {"retry-after": f"{error.retry_after:.0f}"} if error.retry_after else {}
                    headers = {**html.headers(), **again}
                    return HTMLResponse(text, status_code=error.status, headers=headers)

            return checked

    return Viewed


_TITLES = {
    401: "A key is needed",
    403: "Not with this token",
    404: "There is no such report",
    429: "Too much at once",
}


def _admit(request: Request, service: Service) -> Response | None:
    """Nothing for a viewer; for the view key in the address, a cookie and the address without it."""
    key = service.settings.view_token
    name = _cookie(key)
    if _of_a_program(request):
        require(request, "reports")
        return None
    if _same(request.query_params.get("key"), key):
        answer = RedirectResponse(
            request.url.path, status_code=303, headers={"cache-control": "no-store"}
        )
        answer.set_cookie(
            name,
            key.get_secret_value() if key else "",
            path=ROOT,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return answer
    if _same(request.cookies.get(name), key):
        return None
    error = UnauthorizedError(
        "This page opens with the link that the installation printed: its address ends in ?key=…",
        code="view_key",
    )
    log_refused(request, error)
    raise error


def _of_a_program(request: Request) -> bool:
    """Whether a request comes with a token, as Airflow's do; a browser's comes with a cookie."""
    return request.headers.get("authorization", "").lower().startswith("bearer ")


def _cookie(key: SecretStr | None) -> str:
    """The cookie's name: an installation's own, for browsers tell hosts apart and not ports."""
    told = key.get_secret_value() if key else ""
    return f"ropewalk_{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def _same(given: str | None, key: SecretStr | None) -> bool:
    if given is None or key is None:
        return False
    return hmac.compare_digest(given.encode(), key.get_secret_value().encode())


async def _runs(
    service: Service, workflow: str, run: str | None = None, limit: int = 20
) -> list[Row]:
    """The reports of a workflow, or of one of its runs; the latest first."""
    wanted = None if run == LATEST else run
    values = {"workflow": workflow, "run": wanted, "limit": 1 if run == LATEST else limit}
    found = await service.ledger.rows(RUNS, values)
    if not found:
        which = f"Run {run} of {workflow}" if wanted else f"Workflow {workflow}"
        raise NotFoundError(f"{which} has made no report yet.")
    return found


class _Files:
    """The files of reports: as they were kept, and pictures that are drawn when they are asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._drawing = asyncio.Semaphore(DRAWN_AT_ONCE)
        self._asked = 0

    async def send(self, reports: list[Row], file: str) -> Response:
        """A file of one of a run's reports."""
        for row in reports:
            for find in (self._kept, self._drawn):
                with suppress(NotFoundError):
                    data, media_type = await find(row["key"], file)
                    return Response(data, media_type=media_type, headers=html.headers())
        raise NotFoundError(f"The report has no file {file}.")

    async def _kept(self, key: str, file: str) -> tuple[bytes, str]:
        data, artifact = await asyncio.to_thread(self._service.store.artifact, key, file)
        return data, artifact.media_type

    async def _drawn(self, key: str, file: str) -> tuple[bytes, str]:
        name, _, kind = file.rpartition(".")
        if kind not in KINDS:
            raise NotFoundError(f"{file} is no picture")
        spec, _ = await self._kept(key, f"{name}.vl.json")
        limit = self._service.settings.memory_limit
        draw = partial(aside, drawn, spec.decode(), kind, seconds=PATIENCE, memory=limit)
        async with self.turn():
            return await asyncio.to_thread(draw), KINDS[kind]

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn to draw, unless too many wait already: no thread waits with it."""
        if self._asked >= DRAWN_AT_ONCE + DRAWN_SOON:
            raise BusyError("Too many pictures are being drawn: come again.", retry_after=5)
        self._asked += 1
        try:
            async with self._drawing:
                yield
        finally:
            self._asked -= 1


def _html(text: str) -> Response:
    return HTMLResponse(text, headers=html.headers())


def _history(workflow: str, runs: list[Row], all_workflows: str) -> str:
    """The page of a workflow: its numbers now, over its partitions, and its runs."""
    for run in runs:
        run["metrics"] = run["metrics"] or {}
        run["texts"] = _texts(run)
    names = list(dict.fromkeys(name for run in runs for name in run["metrics"]))
    return html.page(
        "history.html",
        title=runs[0]["title"] or workflow,
        workflow=workflow,
        runs=runs,
        more=len(runs) == MOST_RUNS,
        names=names,
        latest=runs[0]["texts"],
        charts=[chart for name in names if (chart := _over_time(name, runs))],
        all_workflows=all_workflows,
    )


def _texts(run: Row) -> dict[str, str]:
    """A run's metrics as its report writes them."""
    formats = run["formats"] or {}
    return {
        name: written(value, MetricFormat(**formats[name]) if name in formats else None)
        for name, value in run["metrics"].items()
    }


def _over_time(name: str, runs: list[Row]) -> dict[str, Any] | None:
    """A metric over the partitions, each as its latest run left it; over the runs, where there are no partitions."""
    latest: dict[str, dict[str, Any]] = {}
    for run in runs:
        value, when = run["metrics"].get(name), run["partition"] or run["ended_at"].isoformat()
        if is_number(value):
            latest.setdefault(when, {"when": when, "value": value, "text": run["texts"][name]})
    if len(latest) < 2:  # noqa: PLR2004 - one point is no line
        return None
    values = sorted(latest.values(), key=lambda point: str(point["when"]))
    ticks = {"tickCount": min(len(values), MOST_TICKS)}
    spec = {
        "$schema": SCHEMA,
        "width": "container",
        "height": 180,
        "data": {"values": values},
        "mark": {"type": "line", "point": len(values) < 100, "strokeWidth": 2},  # noqa: PLR2004
        "encoding": {
            "x": {
                "field": "when",
                "type": "temporal",
                "title": None,
                "scale": {"type": "utc"},
                "axis": ticks,
            },
            "y": {
                "field": "value",
                "type": "quantitative",
                "title": None,
                "scale": {"zero": False},
            },
            "tooltip": [
                {"field": "when", "type": "nominal", "title": "Partition"},
                {"field": "text", "type": "nominal", "title": name},
            ],
        },
    }
    return {"title": name, "spec": spec}
