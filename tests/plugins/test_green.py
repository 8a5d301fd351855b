"""No false green: whatever way a task ends that is not a success, its Airflow task raises."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from ropewalk.contracts.errors import RetryableError, RopewalkError
from ropewalk.contracts.models import TaskRequest
from ropewalk.testing.services import StageService
from ropewalk_airflow.hook import StageHook
from ropewalk_airflow.operator import StageOperator, partition_for

from tests.plugins.test_hook import ask, connect, end, hook, service
from tests.plugins.test_operator import DAILY, FIFTH, context

__all__ = ["ask", "hook", "service"]  # the fixtures

Ask = Callable[..., TaskRequest]
WAYS = ("fail", "fatal", "crash", "die", "bug", "odd", "lose", "eat")


@pytest.fixture
def told() -> dict[str, Any]:
    """What Airflow gives a task, as far as the end of one needs it."""
    run = SimpleNamespace(run_id="run-1")
    return {"ti": SimpleNamespace(xcom_push=lambda **_: None, map_index=-1), "dag_run": run}


def finish(hook: StageHook, request: TaskRequest, told: dict[str, Any]) -> Any:
    """What the Airflow task makes of a task that has ended."""
    key = hook.submit(request).key
    end(hook, key)
    operator = StageOperator(task_id="act", stage="collect", do=[{"files": {"path": "data://a"}}])
    return operator._finish(hook.read(key), told)  # noqa: SLF001


@pytest.mark.parametrize("what", WAYS)
def test_a_stage_that_fails_in_any_way(
    hook: StageHook, ask: Ask, what: str, told: dict[str, Any]
) -> None:
    with pytest.raises(RopewalkError):
        finish(hook, ask(what), told)


def test_too_many_rows_in_quarantine(hook: StageHook, ask: Ask, told: dict[str, Any]) -> None:
    with pytest.raises(RopewalkError, match="2 of 5 rows are in quarantine"):
        finish(hook, ask(rows=3, bad=2, max_quarantined="1"), told)


def test_a_task_that_is_cancelled(hook: StageHook, ask: Ask, told: dict[str, Any]) -> None:
    request = ask("wait", asker="one")
    hook.cancel(hook.submit(request).key, "one")
    operator = StageOperator(task_id="act", stage="collect", do=[{"files": {"path": "data://a"}}])
    with pytest.raises(RetryableError, match="cancelled"):
        operator._finish(hook.read(hook.cancel(_key(request), "one").key), told)  # noqa: SLF001


def test_a_task_that_takes_too_long(hook: StageHook, ask: Ask, told: dict[str, Any]) -> None:
    with pytest.raises(RetryableError, match="longer than its timeout"):
        finish(hook, ask("wait", timeout=0.3), told)


def test_a_stage_that_is_away(
    service: StageService, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    away = connect(monkeypatch, 1, service.key)
    with pytest.raises(RetryableError, match="does not answer"):
        away.submit(ask())


def test_a_success_is_one(hook: StageHook, ask: Ask, told: dict[str, Any]) -> None:
    assert finish(hook, ask(), told)["outputs"]["data"]["rows"] == 3


def test_a_retry_years_later_covers_the_runs_own_day() -> None:
    """Never today's: the run says which, and nobody asks the clock."""
    found = partition_for(DAILY, context({}, FIFTH))
    assert found is not None
    assert found.start == FIFTH < datetime.now(UTC).replace(year=2020)


def _key(request: TaskRequest) -> str:
    from ropewalk.contracts.keys import task_key

    return task_key(request)
