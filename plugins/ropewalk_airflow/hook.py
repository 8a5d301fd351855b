"""Talks to a stage: submit a task, follow it, cancel it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from airflow.sdk import BaseHook
from ropewalk.contracts.errors import Problem, RetryableError, error_of
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import LogLine, TaskRequest, TaskStatus
from ropewalk.contracts.tls import client_context
from ropewalk.contracts.tokens import DATASETS, TICKET, dataset_scope, mint, task_scope

TIMEOUT = httpx.Timeout(40, connect=5)
PREFIX = "ropewalk_"
TRIES = 3  # to reach a stage, before the task fails for now


def connection_id(stage: str, own: str | None = None) -> str:
    """The Airflow connection of a stage; of one that someone else wrote, by the name that the workflow gives it."""
    return f"ropewalk_stage_{own}" if own else f"ropewalk_{stage}"


class StageHook(BaseHook):
    """A client of one stage, whose address is an Airflow connection of type ``ropewalk_stage``.

    The connection's password is the key that the calls are signed with, each for its stage, its task and some minutes.
    """

    conn_name_attr = "conn_id"
    default_conn_name = "ropewalk_collect"
    conn_type = "ropewalk_stage"
    hook_name = "Ropewalk stage"

    def __init__(self, conn_id: str) -> None:
        super().__init__()
        self.conn_id = conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The connection form: an address and a key."""
        return {
            "hidden_fields": ["login"],
            "relabeling": {"password": "Signing key", "schema": "http or https"},
            "placeholders": {
                "host": "127.0.0.1",
                "port": "8081",
                "extra": '{"ca": "/tls/ca.pem", "cert": "/tls/airflow.pem", "key": "/tls/airflow.key"}',
            },
        }

    def submit(self, request: TaskRequest) -> TaskStatus:
        """Submit a task; the same request twice is one task."""
        stage = stage_of(self.get_connection(self.conn_id))
        body = stage.with_tickets(request).model_dump(mode="json")
        return TaskStatus.model_validate(self._of_task("PUT", task_key(request), json=body))

    def read(self, key: str, wait: float = 0) -> TaskStatus:
        """How a task stands, waiting up to so many seconds for its end."""
        return TaskStatus.model_validate(self._of_task("GET", key, params={"wait": wait}))

    def lines(self, key: str, after: int) -> list[LogLine]:
        """A task's log lines after line ``after``."""
        body = self._of_task("GET", key, "/log", params={"after": after})
        return [LogLine.model_validate(line) for line in body["lines"]]

    def cancel(self, key: str, asker: str) -> TaskStatus:
        """Cancel a task, unless another try has asked for it since."""
        return TaskStatus.model_validate(self._of_task("DELETE", key, params={"asker": asker}))

    def test_connection(self) -> tuple[bool, str]:
        """Whether the stage answers to the key, for the button in the UI."""
        try:
            found = self._call("GET", "/v1/describe", "describe")
        except Exception as error:  # noqa: BLE001 - whatever it is, the button shows it
            return False, str(error)
        return True, f"stage {found['stage']}, Ropewalk {found['version']}"

    def _of_task(self, method: str, key: str, path: str = "", **more: Any) -> Any:
        return self._call(method, f"/v1/tasks/{key}{path}", task_scope(key), **more)

    def _call(self, method: str, path: str, right: str, **more: Any) -> Any:
        stage = stage_of(self.get_connection(self.conn_id))
        with reached(self.conn_id), stage.client() as client:
            answer = client.request(method, path, headers=stage.headers(right), **more)
        return body_of(answer)


@dataclass(frozen=True)
class Address:
    """Where a stage is, and the key that calls of it are signed with."""

    stage: str
    url: str
    key: str = field(repr=False)
    tls: Mapping[str, str] = field(default_factory=dict)

    def headers(self, right: str) -> dict[str, str]:
        """What a call carries that wants this right."""
        return {"authorization": f"Bearer {mint(self.key, self.stage, right)}"}

    def client(self) -> httpx.Client:
        """A client of the stage."""
        transport = httpx.HTTPTransport(verify=self._verify(), retries=TRIES)
        return httpx.Client(
            base_url=self.url, timeout=TIMEOUT, transport=transport, trust_env=False
        )

    def async_client(self) -> httpx.AsyncClient:
        """A client of the stage, for an event loop."""
        return httpx.AsyncClient(
            base_url=self.url, timeout=TIMEOUT, verify=self._verify(), trust_env=False
        )

    def with_tickets(self, request: TaskRequest) -> TaskRequest:
        """The request with the right to fetch each of its inputs, wherever that is."""
        inputs = {
            name: ref.model_copy(update={"ticket": self._ticket(ref.id)})
            for name, ref in request.inputs.items()
        }
        return request.model_copy(update={"inputs": inputs})

    def _ticket(self, dataset: str) -> str:
        return mint(self.key, DATASETS, dataset_scope(dataset), life=TICKET)

    def _verify(self) -> ssl.SSLContext | bool:
        """Whom to trust, and who we are; the world's certificates are read (20 ms) only where no other is named."""
        return client_context(self.tls) if self.url.startswith("https:") else False


async def read_later(conn_id: str, key: str, wait: float) -> TaskStatus:
    """As `StageHook.read`, in the triggerer's event loop."""
    answer = await _later(conn_id, "GET", key, params={"wait": wait})
    return TaskStatus.model_validate(body_of(answer))


async def cancel_later(conn_id: str, key: str, asker: str) -> None:
    """As `StageHook.cancel`, in the triggerer's event loop."""
    await _later(conn_id, "DELETE", key, params={"asker": asker})


async def _later(conn_id: str, method: str, key: str, **more: Any) -> httpx.Response:
    stage = stage_of(await BaseHook.aget_connection(conn_id))
    with reached(conn_id):
        async with stage.async_client() as client:
            headers = stage.headers(task_scope(key))
            return await client.request(method, f"/v1/tasks/{key}", headers=headers, **more)


def stage_of(connection: Any) -> Address:
    """The stage that a connection leads to; its id names it, or ``stage`` among its extras.

    Other extras are files: ``ca``, the authority to trust, and ``cert`` and ``key``, which say who we are.
    """
    host = str(connection.host or "127.0.0.1")
    url = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    url = f"{url}:{connection.port}" if connection.port else url
    extra = connection.extra_dejson
    own = str(connection.conn_id or "").removeprefix(PREFIX)
    stage = extra.get("stage") or own.removeprefix("stage_")
    tls = {name: str(extra[name]) for name in ("ca", "cert", "key") if name in extra}
    return Address(str(stage), url, str(connection.password or ""), tls)


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
