"""A step that lasts: the worker hands it to the triggerer, and goes on at its end; where it is killed it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from ropewalk.contracts.errors import FatalError, RetryableError, RopewalkError
from ropewalk.contracts.models import State
from ropewalk.contracts.plugins import STAGE_KIND
from ropewalk_airflow import trigger
from ropewalk_airflow.hook import StageHook
from ropewalk_airflow.operator import StageOperator
from ropewalk_airflow.trigger import StageTrigger

import tests.kernel.example  # noqa: F401 - its kind of plugin
from tests.kernel.test_service import begun, until
from tests.plugins.conftest import logged
from tests.plugins.test_hook import hook, service

__all__ = ["hook", "service"]  # the fixtures

NOW = datetime(2026, 11, 24, tzinfo=UTC)
Lasting = Callable[..., StageOperator]
Kill = Callable[[StageOperator, StageTrigger], None]


@pytest.fixture
def left() -> dict[str, Any]:
    """What the tasks of a run leave in XCom."""
    return {}


@pytest.fixture
def context(left: dict[str, Any]) -> Callable[[str], dict[str, Any]]:
    """What Airflow tells a try of a task."""

    def one(attempt: str) -> dict[str, Any]:
        run = SimpleNamespace(
            run_id="run", dag_id="demo", conf={}, clear_number=0, start_date=NOW, run_after=NOW,
            data_interval_start=NOW, logical_date=NOW,
        )  # fmt: skip
        ti = SimpleNamespace(
            id=attempt, max_tries=0, task=SimpleNamespace(retries=0), map_index=-1,
            xcom_pull=lambda task_ids, **_: left[task_ids],
            xcom_push=lambda key, value: left.update({key: value}),
        )  # fmt: skip
        return {"dag_run": run, "ti": ti, "params": {}}

    return one


@pytest.fixture
def lasting(
    hook: StageHook,  # noqa: ARG001 - its connection
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Lasting:
    """Makes the operator of a step that waits for the file ``go``, and tells its process in the file ``mark``."""
    monkeypatch.setitem(
        STAGE_KIND, "collect", "example"
    )  # what the example stage is, for Airflow's side too

    def one(what: str = "rows", defer_after: float = 0.01, **more: Any) -> StageOperator:
        options = {"what": what, "mark": str(tmp_path / "mark"), "go": str(tmp_path / "go"), **more}
        return StageOperator(
            task_id="act", stage="collect", do=[{"act": options}], defer_after=defer_after
        )

    return one


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has no trigger wait for Airflow, which there is none of here."""
    monkeypatch.setattr(trigger, "SETTLE", 0.0)


def deferred(
    operator: StageOperator, context: dict[str, Any], event: dict[str, Any] | None = None
) -> StageTrigger:
    """The trigger of a task that goes on in the triggerer, made again from what Airflow keeps of it."""
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context) if event is None else operator.execute_complete(context, event)
    assert caught.value.method_name == "execute_complete"
    assert isinstance(caught.value.trigger, StageTrigger)
    _, arguments = caught.value.trigger.serialize()
    return StageTrigger(**arguments)


async def event_of(waiting: StageTrigger, then: Callable[[], Any]) -> Any:
    """What a trigger fires, after something has been done while it waits."""
    events = waiting.run()
    first = asyncio.ensure_future(anext(events))
    await asyncio.to_thread(then)
    return (await first).payload


@pytest.mark.usefixtures("settle")
def test_a_step_that_lasts_goes_on_in_the_triggerer_and_ends_in_the_worker(
    hook: StageHook, lasting: Lasting, context: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    operator, first = lasting(says=["one", "two"], defer_after=1.0), context("try")
    key = hook.submit(operator._request(first)).key  # noqa: SLF001
    until(lambda: len(hook.lines(key, 0)) == 2)
    waiting = deferred(operator, first)
    assert (waiting.conn_id, waiting.key, waiting.asker, waiting.after) == (
        "ropewalk_collect", key, "try", hook.lines(key, 0)[-1].n,
    )  # fmt: skip
    event = asyncio.run(event_of(waiting, (tmp_path / "go").touch))
    assert event == {"key": key, "after": waiting.after}

    another = lasting()  # in another process, which knows nothing
    left = another.execute_complete(context("try"), event)
    report = hook.read(key).report
    assert report is not None
    assert report.output is not None
    assert left == {
        "key": key, "outputs": {"data": report.output.model_dump(mode="json")}, "before": {},
    }  # fmt: skip
    lines = ["one", "two", "wrote 3 rows"]
    assert [line.text for line in hook.lines(key, 0)] == lines
    assert [text for text in logged(capsys) if text in lines] == lines


@pytest.mark.usefixtures("settle")
@pytest.mark.parametrize(
    ("what", "error", "said", "again"),
    [
        ("fatal", FatalError, "the rope is cut", False),
        ("fail", RetryableError, "the sea is rough", True),
    ],
)
def test_a_step_that_fails_in_the_triggerers_care_raises_the_stages_error(
    lasting: Lasting, context: Any, left: dict[str, Any], tmp_path: Path,
    what: str, error: type[RopewalkError], said: str, again: Any,
) -> None:  # fmt: skip
    waiting = deferred(lasting(what), context("try"))
    event = asyncio.run(event_of(waiting, (tmp_path / "go").touch))
    with pytest.raises(error, match=said) as caught:
        lasting(what).execute_complete(context("try"), event)
    assert caught.value.retryable is again
    assert said in left["failed"]["error"]


def by_the_worker(operator: StageOperator, _: StageTrigger) -> None:
    """Airflow ends the worker's task."""
    operator.on_kill()


def by_the_triggerer(_: StageOperator, waiting: StageTrigger) -> None:
    """A user marks the deferred task failed, or clears it."""
    asyncio.run(waiting.on_kill())


def process_of(mark: Path) -> Path:
    """The process that does a task, once it has begun."""
    until(lambda: begun(mark))
    return Path(f"/proc/{int(mark.read_text())}")


ENDS = [by_the_worker, by_the_triggerer]


@pytest.mark.usefixtures("settle")
@pytest.mark.parametrize("kill", ENDS)
def test_a_task_that_is_killed_in_airflow_is_cancelled_and_its_process_gone(
    hook: StageHook, lasting: Lasting, context: Any, tmp_path: Path, kill: Kill
) -> None:
    operator = lasting()
    waiting = deferred(operator, context("one"))
    child = process_of(tmp_path / "mark")
    assert child.exists()
    kill(operator, waiting)
    assert hook.read(waiting.key).state is State.CANCELLED
    until(lambda: not child.exists())
    with pytest.raises(RetryableError, match="cancelled at the stage"):
        lasting().execute_complete(context("one"), {"key": waiting.key, "after": 0})


@pytest.mark.usefixtures("settle")
def test_a_step_that_runs_still_or_again_when_the_triggerer_is_done_is_waited_for_again(
    hook: StageHook, lasting: Lasting, context: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    waiting = deferred(lasting(says=["one"]), context("try"))
    until(lambda: len(hook.lines(waiting.key, 0)) == 1)
    given_up = {"key": waiting.key, "after": 0}  # the triggerer, of a stage that was away for long
    again = deferred(lasting(), context("try"), given_up)
    assert (again.key, again.asker, again.after) == (
        waiting.key,
        "try",
        hook.lines(again.key, 0)[-1].n,
    )
    event = asyncio.run(event_of(again, (tmp_path / "go").touch))
    assert lasting().execute_complete(context("try"), event)["key"] == waiting.key
    lines = ["one", "wrote 3 rows"]
    assert [text for text in logged(capsys) if text in lines] == lines


@pytest.mark.usefixtures("settle")
@pytest.mark.parametrize("kill", ENDS)
def test_a_newer_trys_task_is_not_cancelled(
    hook: StageHook, lasting: Lasting, context: Any, tmp_path: Path, kill: Kill
) -> None:
    older = lasting()
    waiting = deferred(older, context("one"))
    child = process_of(tmp_path / "mark")
    newer = deferred(lasting(), context("two"))
    assert newer.key == waiting.key
    kill(older, waiting)
    assert hook.read(newer.key).state is State.RUNNING
    assert child.exists()
    event = asyncio.run(event_of(newer, (tmp_path / "go").touch))
    assert lasting().execute_complete(context("two"), event)["key"] == newer.key
    assert hook.read(newer.key).attempt == 1


def test_a_task_that_has_asked_for_nothing_has_nothing_to_cancel(lasting: Lasting) -> None:
    lasting().on_kill()
