"""A step of a stage that someone else wrote, as ``ropewalk run`` has it done: asked over HTTP, its data over Flight."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx

from ropewalk.contracts.errors import ConfigError, Problem, RetryableError, error_of
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import LogLine, Report, State, TaskRequest, TaskStatus

if TYPE_CHECKING:
    from ropewalk.kernel.datasets import DatasetStore

Tell = Callable[[str, str], None]
SETTING = "ROPEWALK_STAGE_"
WAIT = 20  # seconds of one long poll


@dataclass(frozen=True)
class Address:
    """Where a stage is, and what opens it."""

    url: str
    flight: str
    token: str
    verify: ssl.SSLContext | bool = True  # whom to trust, over TLS

    def call(self, method: str, path: str, **more: Any) -> Any:
        """The content of an answer; its problem raised."""
        headers = {"authorization": f"Bearer {self.token}"}
        verify = self.verify if self.url.startswith("https:") else False
        try:
            answer = httpx.request(
                method, self.url + path, headers=headers, timeout=WAIT + 20, verify=verify, **more
            )
        except httpx.TransportError as error:
            raise RetryableError(
                f"{self.url} does not answer ({type(error).__name__})", code="stage_away"
            ) from None
        if answer.is_error:
            raise error_of(Problem.model_validate_json(answer.content))
        return answer.json()


def address(name: str) -> Address:
    """The stage that ``ROPEWALK_STAGE_<NAME>`` names: ``{"url": …, "flight": …, "token": …}``."""
    setting = SETTING + name.upper()
    try:
        return Address(**json.loads(os.environ[setting]))
    except KeyError:
        raise ConfigError(
            f"there is no stage {name!r} here",
            code="unknown_stage",
            hint=f"set {setting} to its url, flight and token, as JSON",
        ) from None
    except (ValueError, TypeError):
        raise ConfigError(
            f"{setting} is no JSON object of url, flight and token", code="unknown_stage"
        ) from None


def perform_there(name: str, request: TaskRequest, store: DatasetStore, tell: Tell) -> Report:
    """Have the stage do a task: its inputs are sent there, and its outputs brought to the store here."""
    stage = replace(address(name), verify=store.tls.context())
    report = _ended(stage, _with_inputs_there(stage, request, store), tell)
    return _brought(stage, report, store)


def _with_inputs_there(stage: Address, request: TaskRequest, store: DatasetStore) -> TaskRequest:
    from ropewalk.kernel.flight import put

    sent = {
        name: put(stage.flight, stage.token, store.dataset(ref).table(), name, store.tls)
        for name, ref in request.inputs.items()
    }
    return request.model_copy(update={"inputs": sent})


def _ended(stage: Address, request: TaskRequest, tell: Tell) -> Report:
    """The report of the task, when it has ended; a user who does not want to wait cancels it."""
    asked = f"/v1/tasks/{task_key(request)}"
    status = TaskStatus.model_validate(
        stage.call("PUT", asked, json=request.model_dump(mode="json"))
    )
    path, after = f"/v1/tasks/{status.key}", 0  # of a partition that was read anew, that read's
    try:
        while not status.state.ended:
            status = TaskStatus.model_validate(stage.call("GET", path, params={"wait": WAIT}))
            for line in stage.call("GET", f"{path}/log", params={"after": after})["lines"]:
                told = LogLine.model_validate(line)
                tell(told.level, told.text)
                after = told.n
    except KeyboardInterrupt:
        stage.call("DELETE", path)
        raise
    if status.state is not State.SUCCEEDED or status.report is None:
        raise error_of(status.error or Problem(detail=f"the task is {status.state}"))
    return status.report


def _brought(stage: Address, report: Report, store: DatasetStore) -> Report:
    """The report, its datasets in the store here."""
    from ropewalk.kernel.flight import fetch

    draft = store.draft(report.key)
    for name, ref in report.outputs.items():
        there = ref.model_copy(update={"flight": stage.flight, "ticket": stage.token})
        dataset = fetch(there, store.scratch, store.tls)
        writer = draft.writer(name, dataset.schema)
        for batch in dataset.reader():
            writer.write(batch)
    whole = report.model_copy(update={"outputs": draft.finish(), "artifacts": {}})
    return draft.commit(whole, before=lambda: None).report
