"""Airflow's side of the contract, against a real stage."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from ropewalk.contracts.errors import (
    ConfigError,
    FatalError,
    NotFoundError,
    RetryableError,
    UnauthorizedError,
    error_of,
)
from ropewalk.contracts.models import State, TaskRequest
from ropewalk.contracts.tokens import new_signing_key
from ropewalk.local.free_ports import free_port
from ropewalk.testing.proxy import Proxy
from ropewalk.testing.services import StageService
from ropewalk_airflow import trigger
from ropewalk_airflow.hook import StageHook
from ropewalk_airflow.trigger import StageTrigger

from tests.kernel.conftest import ask, service

__all__ = ["ask", "service"]  # the example stage, running, and requests for it

CONNECTION = "AIRFLOW_CONN_ROPEWALK_COLLECT"
Ask = Callable[..., TaskRequest]


def connect(monkeypatch: pytest.MonkeyPatch, port: int, key: str) -> StageHook:
    """A hook whose connection leads there."""
    found = {"conn_type": "ropewalk_stage", "host": "127.0.0.1", "port": port, "password": key}
    monkeypatch.setenv(CONNECTION, json.dumps(found))
    return StageHook("ropewalk_collect")


@pytest.fixture
def hook(service: StageService, monkeypatch: pytest.MonkeyPatch) -> StageHook:
    """A hook with a connection to the example stage."""
    return connect(monkeypatch, service.port, service.key)


def end(hook: StageHook, key: str) -> State:
    """The state in which a task ends."""
    while not (status := hook.read(key, wait=20)).state.ended:
        pass
    return status.state


def test_a_task_from_submit_to_report(hook: StageHook, ask: Ask) -> None:
    request = ask(rows=5)
    key = hook.submit(request).key
    assert end(hook, key) is State.SUCCEEDED
    status = hook.submit(request)
    assert (status.state, status.report and status.report.rows.out) == (State.SUCCEEDED, 5)
    assert [line.text for line in hook.lines(key, 0)] == ["wrote 5 rows"]
    assert hook.lines(key, hook.lines(key, 0)[-1].n) == []


def test_a_connection_that_breaks_loses_no_task_and_makes_none_twice(
    service: StageService, monkeypatch: pytest.MonkeyPatch, ask: Ask, tmp_path: Path
) -> None:
    proxy = Proxy(service.port)
    try:
        hook = connect(monkeypatch, proxy.port, service.key)
        go = tmp_path / "go"
        request = ask(go=str(go))
        for _ in range(3):  # half of the request, or of its answer
            proxy.halve()
            with pytest.raises(RetryableError, match="does not answer"):
                hook.submit(request)
        key = hook.submit(request).key
        cut = threading.Timer(0.5, proxy.cut)
        cut.start()
        try:
            with pytest.raises(RetryableError, match="does not answer"):
                hook.read(key, wait=20)
        finally:
            cut.join()
        go.touch()
        assert end(hook, key) is State.SUCCEEDED
        assert hook.read(key).attempt == 1
    finally:
        proxy.close()


def test_a_tasks_error_comes_as_the_stage_raised_it(hook: StageHook, ask: Ask) -> None:
    for what, kind in (("fail", RetryableError), ("fatal", FatalError)):
        key = hook.submit(ask(what)).key
        end(hook, key)
        problem = hook.read(key).error
        assert problem is not None
        error = error_of(problem)
        assert isinstance(error, kind)
        assert (error.step, error.retryable) == ("act", kind is RetryableError)


def test_cancel(hook: StageHook, ask: Ask) -> None:
    key = hook.submit(ask("wait", asker="try-2")).key
    assert hook.cancel(key, "try-1").state is not State.CANCELLED  # a newer try has asked for it
    assert hook.cancel(key, "try-2").state is State.CANCELLED


def test_the_trigger_fires_when_the_task_has_ended_and_airflow_has_noted_the_deferral(
    hook: StageHook, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = hook.submit(ask(rows=1)).key
    paused: list[float] = []

    async def sleep(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr("ropewalk_airflow.trigger.asyncio.sleep", sleep)

    async def first() -> object:
        async for event in StageTrigger("ropewalk_collect", key, "", 7).run():
            return event.payload
        return None

    assert asyncio.run(first()) == {"key": key, "after": 7}
    assert paused == [trigger.SETTLE]
    assert hook.read(key).state is State.SUCCEEDED


def test_a_trigger_is_made_again_from_what_it_says_of_itself() -> None:
    path, arguments = StageTrigger("c", "k", "a", 3).serialize()
    assert path == "ropewalk_airflow.trigger.StageTrigger"
    assert StageTrigger(**arguments).serialize() == (path, arguments)


def test_the_connections_button_says_what_is_wrong(
    hook: StageHook, service: StageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok, text = hook.test_connection()
    assert ok
    assert text.startswith("stage collect")
    for key, told in (
        (new_signing_key(), "the token is signed by another key"),
        ("no-key", "no Ed25519 private key"),
    ):
        ok, text = connect(monkeypatch, service.port, key).test_connection()
        assert (ok, told in text) == (False, True), text


def test_errors_of_the_way_name_the_connection_and_no_secret(
    service: StageService, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_signing_key()
    with pytest.raises(UnauthorizedError) as refused:
        connect(monkeypatch, service.port, key).submit(ask())
    with pytest.raises(RetryableError, match="ropewalk_collect does not answer") as away:
        connect(monkeypatch, free_port(), key).submit(ask())
    with pytest.raises(ConfigError) as wrong:
        connect(monkeypatch, service.port, "not-a-key-but-a-secret").submit(ask())
    assert not [
        error
        for error in (refused, away, wrong)
        if key.splitlines()[1] in str(error.value) or "a-secret" in str(error.value)
    ]


def test_what_the_stage_refuses_is_told(hook: StageHook, ask: Ask) -> None:
    with pytest.raises(NotFoundError):
        hook.read("0" * 64)
    with pytest.raises(ConfigError, match="'wrong'"):
        hook.submit(ask().model_copy(update={"stage": "wrong"}))
