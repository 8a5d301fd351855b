"""Reports inside Airflow: asked of the present stage with its token, shown to whom Airflow lets see the DAG."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import quote

import httpx
from fastapi import Depends, FastAPI, Path, Response

from ropewalk_airflow.hook import connection_id, stage_of

KEPT = (
    "content-type",
    "content-disposition",
    "content-security-policy",
    "x-content-type-options",
    "referrer-policy",
    "cross-origin-resource-policy",
    "cache-control",
    "retry-after",
)
DagId = Annotated[str, Path(pattern=r"^[a-zA-Z0-9_.~-]{1,250}$")]
RunId = Annotated[str, Path(pattern=r"^[a-zA-Z0-9_.~:+-]{1,250}$")]
File = Annotated[str, Path(pattern=r"^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,200}$")]
LOST = re.compile(r"^\.+$")


def application() -> FastAPI:
    """The app that Airflow mounts; Airflow checks no login for such apps, so every route here does."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag

    allowed = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.RUN))
    app = FastAPI(
        title="Ropewalk reports",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[allowed],
    )

    @app.get("/report/{dag_id}/")
    async def workflow(dag_id: DagId) -> Response:
        """The latest report of a workflow, and its history."""
        return await _present(dag_id)

    @app.get("/report/{dag_id}/{run_id}/")
    async def run(dag_id: DagId, run_id: RunId) -> Response:
        """The report of a run."""
        return await _present(dag_id, run_id)

    @app.get("/report/{dag_id}/{run_id}/{file}")
    async def file(dag_id: DagId, run_id: RunId, file: File) -> Response:
        """A file of a report: a picture, or the data behind it."""
        return await _present(dag_id, run_id, file)

    return app


async def _present(*parts: str) -> Response:
    """What the present stage shows; its own words where it shows nothing."""
    if any(LOST.match(part) for part in parts):
        return Response("There is no such page.", status_code=404, media_type="text/plain")
    stage = stage_of(_connection())
    path = "/".join(quote(part, safe="") for part in parts)
    slash = "" if len(parts) > 2 else "/"  # noqa: PLR2004 - a file is no folder
    async with stage.async_client() as client:
        try:
            answer = await client.get(f"/reports/{path}{slash}", headers=stage.headers("reports"))
        except httpx.TransportError:
            return Response(
                "The present stage does not answer.", status_code=502, media_type="text/plain"
            )
    headers = {name: answer.headers[name] for name in KEPT if name in answer.headers}
    return Response(answer.content, status_code=answer.status_code, headers=headers)


def _connection() -> Any:
    """The present stage's connection: of the environment, or of Airflow's database."""
    from airflow.models import Connection

    return Connection.get_connection_from_secrets(connection_id("present"))
