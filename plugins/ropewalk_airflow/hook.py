"""Talks to a stage: submit a task, follow it, cancel it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from airflow.sdk import BaseHook
from ropewalk.contracts.errors import Problem, RetryableError, error_of
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import LogLine, TaskRequest, TaskStatus

TIMEOUT = httpx.Timeout(40, connect=5)
TRIES = 3  # to reach a stage, before the task fails for now


def connection_id(stage: str, own: str | None = None) -> str:
    """The Airflow connection of a stage; of one that someone else wrote, by the name that the workflow gives it."""
    return f"ropewalk_stage_{own}" if own else f"ropewalk_{stage}"


class StageHook(BaseHook):
    """A client of one stage, whose address and token are an Airflow connection of type ``ropewalk_stage``."""

    conn_name_attr = "conn_id"
    default_conn_name = "ropewalk_collect"
    conn_type = "ropewalk_stage"
    hook_name = "Ropewalk stage"

    def __init__(self, conn_id: str) -> None:
        super().__init__()
        self.conn_id = conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The connection form: an address and a token."""
        return {
            "hidden_fields": ["login", "extra"],
            "relabeling": {"password": "Token", "schema": "http or https"},
            "placeholders": {"host": "127.0.0.1", "port": "8081"},
        }

    def submit(self, request: TaskRequest) -> TaskStatus:
        """Submit a task; the same request twice is one task."""
        body = request.model_dump(mode="json")
        return TaskStatus.model_validate(
            self._call("PUT", f"/v1/tasks/{task_key(request)}", json=body)
        )

    def read(self, key: str, wait: float = 0) -> TaskStatus:
        """How a task stands, waiting up to so many seconds for its end."""
        return TaskStatus.model_validate(
            self._call("GET", f"/v1/tasks/{key}", params={"wait": wait})
        )

    def lines(self, key: str, after: int) -> list[LogLine]:
        """A task's log lines after line ``after``."""
        body = self._call("GET", f"/v1/tasks/{key}/log", params={"after": after})
        return [LogLine.model_validate(line) for line in body["lines"]]

    def cancel(self, key: str, asker: str) -> TaskStatus:
        """Cancel a task, unless another try has asked for it since."""
        return TaskStatus.model_validate(
            self._call("DELETE", f"/v1/tasks/{key}", params={"asker": asker})
        )

    def test_connection(self) -> tuple[bool, str]:
        """Whether the stage answers to the token, for the button in the UI."""
        try:
            found = self._call("GET", "/v1/describe")
        except Exception as error:  # noqa: BLE001 - whatever it is, the button shows it
            return False, str(error)
        return True, f"stage {found['stage']}, Ropewalk {found['version']}"

    def _call(self, method: str, path: str, **more: Any) -> Any:
        url, token = address(self.get_connection(self.conn_id))
        with (
            reached(self.conn_id),
            httpx.Client(transport=_transport(url)) as client,
        ):
            answer = client.request(
                method,
                url + path,
                headers={"authorization": f"Bearer {token}"},
                timeout=TIMEOUT,
                **more,
            )
        return body_of(answer)


def _transport(url: str) -> httpx.HTTPTransport:
    """How a stage is reached; the certificates of the world are read (20 ms) only where they matter."""
    return httpx.HTTPTransport(verify=url.startswith("https:"), retries=TRIES)


async def read_later(conn_id: str, key: str, wait: float) -> TaskStatus:
    """As `StageHook.read`, in the triggerer's event loop."""
    url, token = address(await BaseHook.aget_connection(conn_id))
    with reached(conn_id):
        async with httpx.AsyncClient(timeout=TIMEOUT, verify=url.startswith("https:")) as client:
            answer = await client.get(
                f"{url}/v1/tasks/{key}",
                params={"wait": wait},
                headers={"authorization": f"Bearer {token}"},
            )
    return TaskStatus.model_validate(body_of(answer))


async def cancel_later(conn_id: str, key: str, asker: str) -> None:
    """As `StageHook.cancel`, in the triggerer's event loop."""
    url, token = address(await BaseHook.aget_connection(conn_id))
    async with httpx.AsyncClient(timeout=TIMEOUT, verify=url.startswith("https:")) as client:
        await client.delete(
            f"{url}/v1/tasks/{key}",
            params={"asker": asker},
            headers={"authorization": f"Bearer {token}"},
        )


def address(connection: Any) -> tuple[str, str]:
    """A connection's URL and token."""
    host = str(connection.host or "127.0.0.1")
    url = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    return (f"{url}:{connection.port}" if connection.port else url), str(connection.password or "")


def body_of(answer: httpx.Response) -> Any:
    """An answer's content; a problem document is raised as the error that it tells of."""
    if not answer.is_error:
        return answer.json()
    if "problem+json" in answer.headers.get("content-type", ""):
        raise error_of(Problem.model_validate_json(answer.content))
    raise RetryableError(f"{answer.request.url} answers {answer.status_code}", code="unreadable")


@contextmanager
def reached(conn_id: str) -> Iterator[None]:
    """Tells an address that does not answer in our words, without what the connection holds."""
    try:
        yield
    except httpx.TransportError as error:
        raise RetryableError(
            f"the stage of connection {conn_id} does not answer ({type(error).__name__})",
            code="stage_away",
            hint="make status, or ropewalk status",
        ) from None
