"""Stages as real services for tests and benchmarks: started on free ports, stopped by their process id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from ropewalk.contracts.errors import Problem, RetryableError, error_of
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import Garbage, LogLine, Report, State, TaskRequest, TaskStatus
from ropewalk.contracts.tokens import (
    ALL,
    DATASETS,
    OWNER,
    dataset_scope,
    mint,
    new_signing_key,
    public_key,
)
from ropewalk.local.free_ports import free_port

PATIENCE = 60.0  # seconds


@dataclass
class StageService:
    """One replica of a stage in a process of its own; ``stage`` is a built-in's name or a module to run.

    ``key`` signs the tokens that it answers to; it calls itself ``audience``. It is asked at its ports, or
    at those of what stands before it, ``asked_at`` and ``flight_at``.
    """

    stage: str
    database_url: str
    home: Path
    env: Mapping[str, str] = field(default_factory=dict)
    key: str = field(default_factory=new_signing_key, repr=False)
    audience: str = ""
    port: int = field(default_factory=free_port)
    flight_port: int = field(default_factory=free_port)
    timeout: float = 40.0  # seconds that a client of it waits for an answer
    patience: float = PATIENCE  # seconds that it may take to start, and a task to end
    asked_at: int | None = None
    flight_at: int | None = None
    process: subprocess.Popen[bytes] | None = None

    @cached_property
    def token(self) -> str:
        """A token that allows everything at this stage."""
        return mint(self.key, self.audience or self.stage.rpartition(".")[2], *ALL, life=OWNER)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.asked_at or self.port}"

    @property
    def flight(self) -> str:
        """The address of its Flight server."""
        return f"grpc://127.0.0.1:{self.flight_at or self.flight_port}"

    @property
    def client(self) -> httpx.Client:
        """A client that carries the token."""
        headers = {"authorization": f"Bearer {self.token}"}
        return httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=self.timeout,
            trust_env=False,
            verify=False,  # noqa: S501 - it is plain HTTP, and reading certificates takes 20 ms
        )

    def start(self) -> StageService:
        """Start it, and return when it is ready for work."""
        self.launch()
        self.wait_ready()
        return self

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        module = self.stage if "." in self.stage else f"ropewalk.{self.stage}"
        log = (self.home / f"{self.stage}.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", module], env=self._environment(), stdout=log, stderr=log
        )
        log.close()

    def wait_ready(self) -> None:
        """Return when it is ready; RetryableError with its log where it has ended."""
        deadline = time.monotonic() + self.patience
        with httpx.Client(trust_env=False, verify=False, timeout=10) as client:  # noqa: S501 - as above
            while time.monotonic() < deadline:
                if self.process is None or self.process.poll() is not None:
                    break
                with suppress(httpx.TransportError):
                    if client.get(f"{self.url}/readyz").is_success:
                        return
                time.sleep(0.05)
        raise RetryableError(f"{self.stage} did not start:\n{self.log()[-4000:]}")

    def log(self) -> str:
        """What it has written."""
        return (self.home / f"{self.stage}.log").read_text(encoding="utf-8", errors="replace")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it, gently or not."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(self.patience)
            self.process = None

    def submit(self, request: TaskRequest) -> TaskStatus:
        """Submit a task."""
        with self.client as client:
            answer = client.put(
                f"/v1/tasks/{task_key(request)}",
                json=self._ticketed(request).model_dump(mode="json"),
            )
        return TaskStatus.model_validate(_body(answer))

    def read(self, key: str, wait: float = 0) -> TaskStatus:
        """How a task stands."""
        with self.client as client:
            answer = client.get(f"/v1/tasks/{key}", params={"wait": wait})
        return TaskStatus.model_validate(_body(answer))

    def cancel(self, key: str, asker: str = "") -> TaskStatus:
        """Cancel a task."""
        with self.client as client:
            answer = client.delete(f"/v1/tasks/{key}", params={"asker": asker})
        return TaskStatus.model_validate(_body(answer))

    def collect_garbage(self) -> Garbage:
        """Have it collect its garbage."""
        with self.client as client:
            return Garbage.model_validate(_body(client.post("/v1/garbage", timeout=self.patience)))

    def lines(self, key: str) -> list[LogLine]:
        """A task's log."""
        with self.client as client:
            body = _body(client.get(f"/v1/tasks/{key}/log"))
        return [LogLine.model_validate(line) for line in body["lines"]]

    def end(self, key: str) -> TaskStatus:
        """How the task stands when it has ended."""
        deadline = time.monotonic() + self.patience
        while not (status := self.read(key, wait=10)).state.ended:
            if time.monotonic() > deadline:
                raise RetryableError(f"task {key[:12]} does not end")
        return status

    def do(self, request: TaskRequest) -> Report:
        """Do a task: its report, or its error raised."""
        status = self.end(self.submit(request).key)
        if status.state is not State.SUCCEEDED or status.report is None:
            raise error_of(status.error or Problem(detail=f"the task is {status.state}"))
        return status.report

    def _ticketed(self, request: TaskRequest) -> TaskRequest:
        """The request with the right to fetch its inputs, as Airflow's side gives it."""
        inputs = {
            name: ref.model_copy(update={"ticket": mint(self.key, DATASETS, dataset_scope(ref.id))})
            for name, ref in request.inputs.items()
        }
        return request.model_copy(update={"inputs": inputs})

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ROPEWALK_PORT": str(self.port),
            "ROPEWALK_FLIGHT_PORT": str(self.flight_port),
            "ROPEWALK_FLIGHT_URL": self.flight,
            "ROPEWALK_DATABASE_URL": self.database_url,
            "ROPEWALK_STORE_URL": (self.home / "store").as_uri(),
            "ROPEWALK_SCRATCH_DIR": str(self.home / "scratch" / self.stage),
            "ROPEWALK_PUBLIC_KEYS": public_key(self.key),
            **self.env,
        }


@contextmanager
def running(*services: StageService) -> Iterator[tuple[StageService, ...]]:
    """The services, started; stopped at the end."""
    try:
        yield tuple(service.start() for service in services)
    finally:
        for service in services:
            service.stop()


def _body(answer: httpx.Response) -> dict[str, Any]:
    """The answer's content, or its problem raised."""
    if answer.is_error:
        raise error_of(Problem.model_validate_json(answer.content))
    body: dict[str, Any] = answer.json()
    return body
