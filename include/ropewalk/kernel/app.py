"""The HTTP API of a stage: the seven routes of the contract (DESIGN §3), the same for every stage."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

import psycopg
import psycopg_pool
from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from ropewalk.contracts.errors import (
    ContractError,
    NotFoundError,
    Problem,
    RetryableError,
    RopewalkError,
)
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import (
    CONTRACT_VERSION,
    Asked,
    Description,
    Garbage,
    LogLine,
    State,
    TaskRequest,
    TaskStatus,
)
from ropewalk.kernel.auth import Open, closed
from ropewalk.kernel.failpoints import failpoint
from ropewalk.kernel.ledger import Ledger
from ropewalk.kernel.limits import Limit, Refused, Room
from ropewalk.kernel.manifests import ManifestStore
from ropewalk.kernel.metrics import WAITING
from ropewalk.kernel.reads import settled
from ropewalk.kernel.settings import ANY_HOST, Settings
from ropewalk.kernel.stage import Stage
from ropewalk.kernel.tokens import Verifier

PROBLEM_JSON = "application/problem+json"
UNREAD = {408, 413}  # of a request whose rest nobody wants
MAX_WAIT = 30.0  # seconds of one long poll
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg_pool.PoolTimeout, OSError)
TaskKey = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


class Lines(BaseModel):
    """A page of a task's log."""

    lines: list[LogLine]


class AskedFor(BaseModel):
    """What runs have asked for."""

    asked: list[Asked]


class Health(BaseModel):
    """That a stage lives, or why it cannot take work."""

    status: str
    detail: str = ""


class Service:
    """What the routes of one stage share. ``ended`` wakes the long polls of a task; ``collect`` collects garbage."""

    def __init__(
        self,
        stage: Stage,
        settings: Settings,
        ledger: Ledger,
        store: ManifestStore,
        collect: Callable[[bool], bytes],
    ) -> None:
        self.stage = stage
        self.settings = settings
        self.ledger = ledger
        self.store = store
        self._collect = collect
        self.verifier = Verifier(settings.public_keys, (stage.name,))
        self._room = Room(ledger, settings.max_queued)
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def ended(self, key: str) -> None:
        """Wake those who wait for a task."""
        for event in self._waiting.get(key, ()):
            event.set()

    async def submit(self, request: TaskRequest) -> TaskStatus:
        """Enter a task, or find it; one whose outputs are no longer there is done again.

        Of a partition that was read anew since its first read it is the last read's task.
        """
        request = await asyncio.to_thread(settled, request, self.store)
        key = task_key(request)
        await self._room.need(key)
        status = await self.ledger.submit(key, request)
        if status.state is State.SUCCEEDED and not await asyncio.to_thread(self.store.keep, key):
            await self.ledger.forget(key)
            status = await self.ledger.submit(key, request)
        return status

    async def collect(self, *, dry_run: bool = False) -> Garbage:
        """Collect garbage, in a process of its own."""
        return Garbage.model_validate_json(await asyncio.to_thread(self._collect, dry_run))

    async def wait(self, key: str, seconds: float) -> TaskStatus:
        """How the task stands when it has ended, or when so many seconds have passed."""
        event = asyncio.Event()
        self._waiting[key].add(event)
        try:
            status = await self.ledger.read(key)
            if status.state.ended or seconds <= 0:
                return status
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), min(seconds, MAX_WAIT))
            status = await self.ledger.read(key)
            if status.state is not State.QUEUED:
                return status
            return status.model_copy(update={"waits": await self.ledger.waits(key)})
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]


Run = Callable[
    [Service], Any
]  # an asynchronous context manager that does the work behind the routes


def build(service: Service, run: Run) -> FastAPI:
    """The application of a stage; ``run`` surrounds its life."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with run(service):
            yield

    app = FastAPI(
        title=f"Ropewalk stage: {service.stage.name}",
        version=CONTRACT_VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.verifier = service.verifier
    app.include_router(_open_routes(service))
    app.include_router(_list_routes(service))
    app.include_router(_task_routes(service))
    app.include_router(_stage_routes(service, app))
    app.include_router(_garbage_routes(service))
    app.include_router(_metrics_routes(service))
    if service.stage.web:
        app.include_router(_web_routes(service))
    app.add_middleware(Limit, settings=service.settings)
    _answer_errors(app)
    return app


def _open_routes(service: Service) -> APIRouter:
    """What anyone may ask: whether the stage lives, and whether it can take work."""
    router = APIRouter(route_class=Open, tags=["health"])

    @router.get("/healthz", operation_id="healthz")
    async def healthz() -> Health:
        return Health(status="alive")

    @router.get("/readyz", operation_id="readyz", responses={503: {"model": Health}})
    async def readyz(response: Response) -> Health:
        for name, ready in (
            ("database", service.ledger.ready),
            ("dataset store", partial(_store_ready, service)),
            ("Flight server", partial(_flight_ready, service.settings)),
        ):
            try:
                await asyncio.wait_for(ready(), 5)
            except (*AWAY, RopewalkError, TimeoutError):
                response.status_code = 503
                return Health(status="not ready", detail=f"the {name} does not answer")
        return Health(status="ready")

    return router


def _task_routes(service: Service) -> APIRouter:
    """Submit, read, follow and cancel a task."""
    router = APIRouter(
        prefix="/v1/tasks", route_class=closed("task:{key}"), tags=["tasks"], responses=PROBLEMS
    )

    @router.put(
        "/{key}", status_code=202, operation_id="submit", responses={200: {"model": TaskStatus}}
    )
    async def submit(key: TaskKey, request: TaskRequest, response: Response) -> TaskStatus:
        """Submit a task: the same key twice is one task; 200 with the report where it is done."""
        _check_version(request)
        if key != task_key(request):
            raise ContractError(
                f"the request's key is {task_key(request)}, not {key}",
                code="wrong_key",
                hint="compute it as ropewalk.contracts.keys.task_key does",
            )
        service.stage.accept(request)
        failpoint("submit.asked")
        status = await service.submit(request)
        failpoint("submit.entered")
        response.status_code = 200 if status.state is State.SUCCEEDED else 202
        return status

    @router.get("/{key}", operation_id="read")
    async def read(
        key: TaskKey, wait: Annotated[float, Query(ge=0, le=MAX_WAIT)] = 0
    ) -> TaskStatus:
        """How a task stands; waits up to ``wait`` seconds for its end."""
        return await service.wait(key, wait)

    @router.get("/{key}/log", operation_id="log")
    async def lines(key: TaskKey, after: Annotated[int, Query(ge=0)] = 0) -> Lines:
        """The task's own log lines after line ``after``."""
        found = await service.ledger.lines(key, after)
        if not found:
            await service.ledger.read(key)  # which tells of a task that there is none
        return Lines(lines=found)

    @router.delete("/{key}", operation_id="cancel")
    async def cancel(key: TaskKey, asker: str = "") -> TaskStatus:
        """Cancel a task, unless someone else than ``asker`` has asked for it since."""
        return await service.ledger.cancel(key, asker)

    return router


def _list_routes(service: Service) -> APIRouter:
    """What all tasks are."""
    router = APIRouter(route_class=closed("tasks"), tags=["tasks"], responses=PROBLEMS)

    @router.get("/v1/tasks", operation_id="list")
    async def asked(
        workflow: str | None = None,
        run: str | None = None,
        latest: bool = False,  # noqa: FBT001, FBT002 - a query parameter
        quarantined: bool = False,  # noqa: FBT001, FBT002
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> AskedFor:
        """What runs have asked for; ``latest``: by the last run of each partition; ``quarantined``: with such rows."""
        found = await service.ledger.asked(
            workflow=workflow, run=run, latest=latest, quarantined=quarantined, limit=limit
        )
        return AskedFor(asked=found)

    return router


def _stage_routes(service: Service, app: FastAPI) -> APIRouter:
    """What the stage can do."""
    router = APIRouter(route_class=closed("describe"), tags=["stage"])

    @router.get("/v1/describe", operation_id="describe")
    async def describe() -> Description:
        """The stage and its plugins, each with the JSON Schema of its options."""
        return service.stage.describe()

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        """This API in OpenAPI 3.1."""
        return JSONResponse(app.openapi())

    return router


def _garbage_routes(service: Service) -> APIRouter:
    """What keeps the stage clean."""
    router = APIRouter(route_class=closed("garbage"), tags=["stage"])

    @router.post("/v1/garbage", operation_id="collect")
    async def collect(dry_run: bool = False) -> Garbage:  # noqa: FBT001, FBT002 - a query parameter
        """Remove what nobody uses any more; with ``dry_run`` only say what that would be."""
        return await service.collect(dry_run=dry_run)

    return router


def _metrics_routes(service: Service) -> APIRouter:
    """How the stage does."""
    router = APIRouter(route_class=closed("metrics"), tags=["stage"])

    @router.get("/metrics", operation_id="metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """The stage's metrics for Prometheus."""
        counts = await service.ledger.counts()
        for state in (State.QUEUED, State.RUNNING):
            WAITING.labels(service.stage.name, state).set(counts.get(state, 0))
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


def _web_routes(service: Service) -> APIRouter:
    import importlib

    module, _, name = str(service.stage.web).partition(":")
    router: APIRouter = getattr(importlib.import_module(module), name)(service)
    return router


async def _store_ready(service: Service) -> None:
    try:
        await asyncio.to_thread(service.store.objects.read, "store.json")
    except NotFoundError:
        await asyncio.to_thread(service.store.objects.create, "store.json", b'{"format": 1}')


async def _flight_ready(settings: Settings) -> None:
    host = "127.0.0.1" if settings.host in ANY_HOST else settings.host
    _, writer = await asyncio.open_connection(host, settings.flight_port)
    writer.close()


def _check_version(request: TaskRequest) -> None:
    major = request.contract.partition(".")[0]
    if major != CONTRACT_VERSION.partition(".")[0]:
        raise ContractError(
            f"the request speaks contract {request.contract}, this stage {CONTRACT_VERSION}",
            code="contract_version",
            hint="bring both sides to the same major version",
        )


def _answer_errors(app: FastAPI) -> None:
    """Every error leaves as a problem document (RFC 9457)."""

    async def ours(_: Request, error: Exception) -> Response:
        return problem_response(error.problem() if isinstance(error, RopewalkError) else Problem())

    async def refused(_: Request, error: Exception) -> Response:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        field = ".".join(str(part) for part in first.get("loc", ())[1:])
        text = f"{field}: {first.get('msg')}" if field else str(first.get("msg"))
        wrong = ContractError(text, code="invalid", field=field or None)
        return problem_response(wrong.problem().model_copy(update={"status": 422}))

    async def http(_: Request, error: Exception) -> Response:
        if isinstance(error, Refused):
            return problem_response(error.problem)
        status = error.status_code if isinstance(error, HTTPException) else 500
        text = str(error.detail) if isinstance(error, HTTPException) else ""
        return problem_response(Problem(status=status, title=text, code="http", detail=text))

    async def away(_: Request, error: Exception) -> Response:
        lost = RetryableError(
            f"the stage's database does not answer ({type(error).__name__})",
            code="database_away",
            retry_after=2,
        )
        return problem_response(lost.problem())

    app.add_exception_handler(RopewalkError, ours)
    app.add_exception_handler(RequestValidationError, refused)
    app.add_exception_handler(HTTPException, http)
    for kind in AWAY:
        app.add_exception_handler(kind, away)


def problem_response(problem: Problem) -> Response:
    """A problem document as an answer."""
    headers = {"Retry-After": str(int(problem.retry_after))} if problem.retry_after else {}
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.status in UNREAD:
        headers["Connection"] = "close"
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, status_code=problem.status, headers=headers, media_type=PROBLEM_JSON)


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": what,
        "content": {PROBLEM_JSON: {"schema": Problem.model_json_schema()}},
    }
    for status, what in (
        (400, "the request does not fit the contract"),
        (401, "no valid token"),
        (403, "the token is for another task"),
        (404, "no such task"),
        (413, "the request is too large"),
        (422, "the request's content is wrong"),
        (429, "too many tasks wait: try again"),
        (503, "not now: try again"),
    )
}
