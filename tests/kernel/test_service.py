"""A stage as a service: what it answers, and what it survives."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from ropewalk.contracts.errors import (
    ConfigError,
    ContractError,
    DataError,
    FatalError,
    RetryableError,
)
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import State, TaskRequest, Use
from ropewalk.testing.proxy import Proxy
from ropewalk.testing.services import StageService, running
from ropewalk.testing.sinks import day

from tests.conftest import Postgres

OUTLIVED = """
SELECT clock_timestamp() > started_at + interval '3 s' AND lease_until > clock_timestamp(), attempt
FROM collect.task WHERE key = %s
"""
EXPIRED = "SELECT lease_until < clock_timestamp() FROM collect.task WHERE key = %s"
Ask = Callable[..., TaskRequest]
Make = Callable[..., StageService]


def until(met: Callable[[], bool]) -> None:
    """Return when a condition is met."""
    deadline = time.monotonic() + 20
    while not met():
        assert time.monotonic() < deadline, "not met in 20 s"
        time.sleep(0.01)


def test_a_task_is_done_and_reports_its_rows(service: StageService, ask: Ask) -> None:
    request = ask(rows=5, bad=2, max_quarantined="50%")
    assert service.submit(request).state in {State.QUEUED, State.RUNNING}
    status = service.end(task_key(request))
    assert (status.state, status.attempt, status.reused) == (State.SUCCEEDED, 1, None)
    assert status.report is not None
    assert (status.report.rows.out, status.report.rows.quarantined) == (5, 2)
    assert [line.text for line in service.lines(status.key)] == ["wrote 5 rows"]
    assert status.progress.fraction == 1


def test_a_number_that_is_none_is_told_as_none(service: StageService, ask: Ask) -> None:
    """JSON has no NaN: Postgres refuses a report with one, each time that it is told."""
    status = service.end(service.submit(ask("nan")).key)
    assert status.state is State.SUCCEEDED
    assert status.report is not None
    assert status.report.metrics == {"r2": None, "most": None}
    assert status.report.watermark is None


def test_the_same_key_twice_is_one_task(service: StageService, ask: Ask, tmp_path: Path) -> None:
    request = ask(mark=str(tmp_path / "mark"), generation="same")
    first = service.do(request)
    again = service.submit(ask(mark=str(tmp_path / "mark"), generation="same", run="run-2"))
    assert (again.state, again.report, again.reused) == (State.SUCCEEDED, first, "run-1")
    assert len((tmp_path / "mark").read_text().splitlines()) == 1


def test_a_failed_task_asked_for_again_is_tried_again(
    service: StageService, ask: Ask, tmp_path: Path
) -> None:
    request = ask("fail", mark=str(tmp_path / "mark"))
    for attempt in (1, 2):
        status = service.end(service.submit(request).key)
        assert (status.state, status.attempt) == (State.FAILED, attempt)
        assert status.error is not None
        assert (status.error.detail, status.error.retryable, status.error.retry_after, status.error.step) == (
            "the sea is rough", True, 3, "act",
        )  # fmt: skip


def test_a_task_that_waits_says_what_for(service: StageService, ask: Ask, tmp_path: Path) -> None:
    mark, go = tmp_path / "mark", tmp_path / "go"
    first = [ask(mark=str(mark), go=str(go)) for _ in range(2)]
    for request in first:
        service.submit(request)
    until(lambda: mark.exists() and len(mark.read_text().splitlines()) == 2)
    third = service.submit(ask()).key
    status = service.read(third, wait=0.1)
    assert (status.state, status.waits) == (
        State.QUEUED, "2 tasks run at this stage, and 0 wait before it",
    )  # fmt: skip
    go.touch()
    assert service.end(third).waits == ""


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("fatal", FatalError, "the rope is cut"),
        ("crash", FatalError, "a native library crashed on this input (SIGSEGV)"),
        ("die", RetryableError, "the task's process ended without a word (SIGKILL)"),
        ("bug", FatalError, "KeyError: 'surprise'"),
        ("lose", FatalError, "4 rows of the source came in, 3 went on, 0 are in quarantine"),
    ],
)
def test_a_task_that_fails_says_why(
    service: StageService, ask: Ask, what: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        service.do(ask(what))
    assert str(caught.value).startswith(text)
    assert service.do(ask()).rows.out == 3


def test_a_task_that_takes_too_much_memory_is_ended(service: StageService, ask: Ask) -> None:
    with pytest.raises(
        FatalError, match="the task used [0-9]+ MiB of memory: its limit is 256 MiB"
    ):
        service.do(ask("eat"))


def test_a_task_that_takes_too_long_is_ended(service: StageService, ask: Ask) -> None:
    with pytest.raises(RetryableError, match=r"longer than its timeout of 0\.5 s"):
        service.do(ask("wait", timeout=0.5))


def test_too_much_quarantine_stops_the_task(service: StageService, ask: Ask) -> None:
    with pytest.raises(
        DataError, match="2 of 5 rows are in quarantine: more than max_quarantined 10%"
    ):
        service.do(ask(rows=3, bad=2, max_quarantined="10%"))


def test_what_a_task_prints_is_in_its_log(service: StageService, ask: Ask) -> None:
    report = service.do(ask("print"))
    said = {"out", "err", "a \ufffd b", "wrote 3 rows"}
    assert {line.text for line in service.lines(report.key)} == said


def test_a_secret_that_a_task_tells_is_in_no_log_and_no_error(
    service: StageService, ask: Ask
) -> None:
    request = ask("blab")
    with pytest.raises(FatalError, match=r"ropewalk_collect:\*\*\*@"):
        service.do(request)
    log = [line.text for line in service.lines(task_key(request))]
    assert len([text for text in log if "ropewalk_collect:***@" in text]) == 2  # printed and told
    assert "collect-test" not in "\n".join([*log, service.log()])


def test_an_error_that_postgres_cannot_keep_as_it_is_is_told(
    service: StageService, ask: Ask
) -> None:
    """NUL and halves of surrogate pairs are in no text of Postgres."""
    error = service.end(service.submit(ask("odd")).key).error
    assert error is not None
    assert error.detail == "it has \ufffd and ? and \\u0000 in it"


def test_the_watermark_moves_only_with_a_committed_report(service: StageService, ask: Ask) -> None:
    assert service.do(ask("watermark", rows=5, run="one", step="reads")).watermark == 5
    with pytest.raises(DataError):
        service.do(ask("watermark", rows=7, bad=1, max_quarantined="0", run="two", step="reads"))
    assert service.do(ask("watermark", rows=1, run="three", step="reads")).watermark == 6


def test_a_run_that_is_cleared_reads_again_what_it_has_read(
    service: StageService, ask: Ask
) -> None:
    """And no further than where another run went on from: nothing is lost, nothing is read twice."""
    for run, rows in (("a", 1), ("b", 2), ("c", 3)):
        service.do(ask("window", rows=rows, run=run, step="windows"))
    again = service.do(ask("window", rows=1, run="b", step="windows"))
    assert (again.since, again.metrics["until"]) == (1, 3)
    newest = service.do(ask("window", rows=1, run="c", step="windows"))
    assert (newest.since, newest.metrics["until"]) == (3, None)
    assert service.do(ask("window", rows=1, run="d", step="windows")).since == newest.watermark


def test_another_run_of_the_partition_reads_again_what_was_read_of_it(
    service: StageService, ask: Ask
) -> None:
    days = {n: day(n) for n in (1, 2)}
    for n, run in ((1, "e"), (2, "f")):
        service.do(ask("window", rows=n, run=run, step="days", partition=days[n]))
    again = service.do(ask("window", rows=9, run="g", step="days", partition=days[1]))
    assert (again.since, again.metrics["until"]) == (None, 1)


def test_what_a_lost_attempt_has_read_is_not_taken_where_another_run_has_read_on(
    service: StageService, ask: Ask
) -> None:
    """It read to the source's end then, and its run may take no more than lies before the other's."""
    service.do(ask("window", rows=1, run="h", step="lost"))
    cleared = ask("window", rows=5, run="h", step="lost")
    service.do(cleared)
    with psycopg.connect(service.database_url, autocommit=True) as session:
        session.execute(
            "UPDATE collect.task SET state = 'cancelled', report = NULL WHERE key = %s",
            [task_key(cleared)],
        )
    service.do(ask("window", rows=7, run="i", step="lost"))
    with pytest.raises(FatalError, match="another task since"):
        service.do(cleared)


def test_a_task_that_outlives_its_lease_is_still_the_same_attempts(
    make: Make, ask: Ask, tmp_path: Path
) -> None:
    """Its service renews the lease, and another replica leaves it alone."""
    with running(make(ROPEWALK_LEASE_SECONDS="0.6"), make(ROPEWALK_LEASE_SECONDS="0.6")) as both:
        key = both[0].submit(ask(mark=str(tmp_path / "mark"), go=str(tmp_path / "go"))).key
        until(lambda: begun(tmp_path / "mark"))
        with psycopg.connect(both[0].database_url, autocommit=True) as session:
            until(lambda: session.execute(OUTLIVED, [key]).fetchone() == (True, 1))
            (tmp_path / "go").touch()
            assert both[0].end(key).state is State.SUCCEEDED
            assert session.execute(OUTLIVED, [key]).fetchone() == (None, 1)


def test_a_replica_that_cannot_reach_the_ledger_ends_its_work_before_another_may_begin(
    postgres: Postgres, make: Make, ask: Ask, tmp_path: Path
) -> None:
    proxy = Proxy(postgres.cluster.port)
    one = make(ROPEWALK_LEASE_SECONDS="4")
    direct = one.database_url
    one.database_url = direct.replace(f":{postgres.cluster.port}/", f":{proxy.port}/")
    try:
        with running(one):
            key = one.submit(ask(mark=str(tmp_path / "mark"), go=str(tmp_path / "go"))).key
            until(lambda: begun(tmp_path / "mark"))
            proxy.hold()
            with psycopg.connect(direct, autocommit=True) as session:
                until(lambda: session.execute(EXPIRED, [key]).fetchone() == (True,))
                assert gone(int((tmp_path / "mark").read_text()))
            proxy.go_on()
            (tmp_path / "go").touch()
            status = one.end(key)
        assert (status.state, status.attempt) == (State.SUCCEEDED, 2)
    finally:
        proxy.go_on()
        proxy.close()


def test_checks_that_a_stage_does_not_make_are_refused(service: StageService, ask: Ask) -> None:
    request = ask().model_copy(update={"checks": [Use(plugin="not_null", options={})]})
    with pytest.raises(ConfigError, match="checks stand after a process step"):
        service.do(request)


def test_of_a_step_that_reads_on_one_task_runs_at_a_time(
    service: StageService, ask: Ask, tmp_path: Path
) -> None:
    """Else two runs would read the same rows on from the same watermark."""
    marks = {run: tmp_path / run for run in ("one", "two")}
    asked = {
        run: ask(
            "watermark",
            run=run,
            mark=str(mark),
            go=str(tmp_path / "go"),
            cursor="n",
            step="reads_on",
        )
        for run, mark in marks.items()
    }
    keys = {run: service.submit(request).key for run, request in asked.items()}
    until(lambda: begun(marks["one"]))
    service.do(ask())  # the stage has room for another
    assert service.read(keys["two"]).state is State.QUEUED
    (tmp_path / "go").touch()
    assert [service.end(key).report.since for key in keys.values()] == [None, 3]  # type: ignore[union-attr]


def test_cancel_ends_the_work_and_nothing_is_visible(
    service: StageService, ask: Ask, tmp_path: Path
) -> None:
    request = ask(mark=str(tmp_path / "mark"), go=str(tmp_path / "never"), asker="one")
    key = service.submit(request).key
    until(lambda: begun(tmp_path / "mark"))
    child = int((tmp_path / "mark").read_text())
    assert service.cancel(key, "another").state is State.RUNNING
    assert service.cancel(key, "one").state is State.CANCELLED
    until(lambda: gone(child))
    assert not list((service.home / "store").glob(f"tasks/*/{key}/[!.]*"))


def test_a_running_task_asked_for_again_is_joined(
    service: StageService, ask: Ask, tmp_path: Path
) -> None:
    request = ask(mark=str(tmp_path / "mark"), go=str(tmp_path / "go"))
    key = service.submit(request).key
    until(lambda: begun(tmp_path / "mark"))
    assert service.submit(request).state is State.RUNNING
    (tmp_path / "go").touch()
    assert service.end(key).attempt == 1


def test_a_killed_service_leaves_no_child_and_its_task_is_done_after_a_restart(
    make: Make, ask: Ask, tmp_path: Path
) -> None:
    with running(make(ROPEWALK_LEASE_SECONDS="60")) as (one,):
        request = ask(mark=str(tmp_path / "mark"), go=str(tmp_path / "go"))
        key = one.submit(request).key
        until(lambda: begun(tmp_path / "mark"))
        child = int((tmp_path / "mark").read_text())
        one.stop(signal.SIGKILL)
        until(lambda: gone(child))
        (tmp_path / "go").touch()
        one.start()
        status = one.end(key)
    assert (status.state, status.attempt) == (State.SUCCEEDED, 2)


def test_a_replica_that_stops_loses_its_task_and_cannot_commit(
    make: Make, ask: Ask, tmp_path: Path
) -> None:
    with running(make(), make()) as (one, other):
        request = ask(mark=str(tmp_path / "mark"), go=str(tmp_path / "go"))
        key = one.submit(request).key
        until(lambda: begun(tmp_path / "mark"))
        holder = min((one, other), key=lambda replica: _holds(replica, tmp_path))
        assert holder.process is not None
        os.kill(holder.process.pid, signal.SIGSTOP)
        try:
            keeper = other if holder is one else one
            until(lambda: len((tmp_path / "mark").read_text().splitlines()) == 2)
            (tmp_path / "go").touch()
            status = keeper.end(key)
        finally:
            os.kill(holder.process.pid, signal.SIGCONT)
        assert (status.state, status.attempt) == (State.SUCCEEDED, 2)
        assert holder.end(key).attempt == 2


def test_an_attempt_whose_task_was_taken_over_is_stopped_by_the_fence(
    make: Make, ask: Ask, tmp_path: Path
) -> None:
    """By nothing else: nobody has its seat, and its lease is not due for 20 minutes."""
    with running(make(ROPEWALK_LEASE_SECONDS="3600")) as (one,):
        request = ask("tell_fence", mark=str(tmp_path / "mark"), go=str(tmp_path / "go"))
        key = one.submit(request).key
        until(lambda: begun(tmp_path / "mark"))
        with psycopg.connect(one.database_url, autocommit=True) as session:
            session.execute("UPDATE collect.task SET attempt = 2 WHERE key = %s", [key])
        assert list(folder_of(one, key).glob(".manifest.json.*")), "the attempt has its seat"
        (tmp_path / "go").touch()
        until(lambda: gone(int((tmp_path / "mark").read_text())))
        assert not (folder_of(one, key) / "manifest.json").exists()
        until(lambda: bool(one.lines(key)))
        assert [line.text for line in one.lines(key)] == ["the fence says fenced"]
        assert one.read(key).state is State.RUNNING, "it is the other attempt's to end"


def test_a_tasks_memory_is_for_no_other_process_of_its_user(
    service: StageService, ask: Ask
) -> None:
    """Which holds the secrets of its stage."""
    assert service.do(ask("dumpable")).metrics == {"dumpable": 0}


def gone(pid: int) -> bool:
    """Whether a process is there no more."""
    return not Path(f"/proc/{pid}").exists()


def folder_of(service: StageService, key: str) -> Path:
    """Where a task's files lie."""
    return service.home / "store" / "tasks" / key[:2] / key


def begun(mark: Path) -> bool:
    """Whether the work has begun and has said so to the last letter."""
    return mark.exists() and mark.read_text().endswith("\n")


def _holds(replica: StageService, folder: Path) -> int:
    """0 for the replica whose fork server made the child that wrote the mark, else 1."""
    child = int((folder / "mark").read_text().split()[0])
    assert replica.process is not None
    fork_server = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    service = int(Path(f"/proc/{fork_server}/stat").read_text().rpartition(")")[2].split()[1])
    return 0 if service == replica.process.pid else 1


def test_a_key_that_is_not_the_requests_is_refused(service: StageService, ask: Ask) -> None:
    with service.client as client:
        answer = client.put(f"/v1/tasks/{'0' * 64}", json=ask().model_dump(mode="json"))
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong_key")
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_unknown_plugin_or_option_is_refused_with_the_nearest_name(
    service: StageService, ask: Ask
) -> None:
    with pytest.raises(
        Exception, match=r"example 'act' has no option 'rosw' \(did you mean 'rows'\?\)"
    ):
        service.do(ask(rosw=1))


def test_a_body_that_is_not_a_request_is_refused(service: StageService) -> None:
    with service.client as client:
        answer = client.put(f"/v1/tasks/{'0' * 64}", json={"workflow": 1})
        large = client.put(f"/v1/tasks/{'0' * 64}", content=b" " * (5 << 20))
    assert (answer.status_code, answer.json()["field"]) == (422, "workflow")
    assert (large.status_code, large.json()["detail"]) == (413, "a request may have 4194304 bytes")


def test_a_task_that_was_never_submitted_is_not_found(service: StageService) -> None:
    with pytest.raises(ContractError, match="this stage has no task"):
        service.read("0" * 64)


def test_a_request_with_a_text_that_postgres_cannot_keep_is_refused(
    service: StageService, ask: Ask
) -> None:
    for request in (ask(run="a\0run"), ask(asker="an\0asker"), ask(mark="\\\0")):
        with pytest.raises(ContractError, match="has a NUL character in it"):
            service.submit(request)


def test_what_is_looked_for_may_have_a_nul_in_it(service: StageService, ask: Ask) -> None:
    request = ask()
    service.do(request)
    with service.client as client:
        found = client.get("/v1/tasks", params={"workflow": "\0", "run": "\0"})
    assert found.json() == {"asked": []}
    assert service.cancel(task_key(request), "\0").state is State.SUCCEEDED


def test_describe_health_and_metrics(service: StageService) -> None:
    with service.client as client:
        assert client.get("/v1/describe").json()["plugins"][0]["name"] == "act"
        assert "ropewalk_tasks_ended_total" in client.get("/metrics").text
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
        assert client.get("/healthz", headers={"authorization": ""}).json()["status"] == "alive"
        assert client.get("/readyz", headers={"authorization": ""}).json()["status"] == "ready"
