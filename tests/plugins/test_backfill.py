"""A backfill against a server that answers as Airflow does: which partitions its runs do, and what it outlives."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from rich.console import Console
from ropewalk.cli.airflow import Airflow
from ropewalk.cli.backfill import Backfill, Outcome, batches, rate
from ropewalk.contracts.errors import RetryableError
from ropewalk.workflow import Workflow, loads
from ropewalk_airflow.operator import covered

from tests.servers import serving

TEXT = """
start: 2013-01-01
timezone: {zone}
partition: {grain}
steps:
  words:
    collect: files
    with: {{path: "data://words.csv", where: "at >= {{{{ partition.start }}}}"}}
"""
NOW = datetime(2026, 11, 24, 2, 41, tzinfo=UTC)
DAYS = date(2013, 1, 1), date(2013, 1, 4)


def workflow(grain: str = "day", zone: str = "America/New_York") -> Workflow:
    """A workflow with partitions of that length."""
    return loads(TEXT.format(grain=grain, zone=zone), Path("w.yaml"))


@dataclass
class Site:
    """An Airflow: its runs, the partitions that fail in it, and how often which calls have no answer.

    Of those an answer is ``lost`` when all is done, or it is ``busy`` and says so. While it is ``held`` no run ends.
    """

    workflow: Workflow
    bad: set[str] = field(default_factory=set)
    lost: Counter[str] = field(default_factory=Counter)
    busy: Counter[str] = field(default_factory=Counter)
    held: bool = False
    token: str = "one"
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def names(self, run: str) -> list[str]:
        """The partitions that our operator does in a run."""
        told = SimpleNamespace(
            conf=self.runs[run], run_type="manual", logical_date=None, data_interval_start=None, run_after=NOW
        )  # fmt: skip
        return [one.name for one in covered(self.workflow, {"dag_run": told, "params": {}})]

    def failed(self, run: str) -> list[str]:
        """The partitions of a run that fail."""
        return [name for name in self.names(run) if name in self.bad]

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """What is said to a call."""
        if path == "/auth/token":
            return 201, {"access_token": self.token}
        if method == "GET":
            return 200, self.told(path.removeprefix("/api/v2/").split("/"))
        if body["dag_run_id"] in self.runs:
            return 409, {"detail": "Unique constraint violation"}
        self.runs[body["dag_run_id"]] = body["conf"]
        return 200, {}

    def told(self, path: list[str]) -> Any:
        """What is told of a run, or of all."""
        match path[2:]:
            case ["dagRuns"]:
                return {"dag_runs": [self.run(name) for name in self.runs]}
            case ["dagRuns", run]:
                return self.run(run)
            case ["dagRuns", run, "taskInstances"]:
                return {"task_instances": [{"task_id": "words", "state": self.state(run)}]}
            case ["dagRuns", run, "taskInstances", _, "xcomEntries", "failed"]:
                several = self.failed(run) if len(self.names(run)) > 1 else []
                return {"value": {"error": "bad rows", "partitions": several}}
        return {}

    def run(self, name: str) -> dict[str, Any]:
        """A run, as Airflow tells it."""
        moments = {"start_date": "2026-11-24T02:41:00Z", "end_date": "2026-11-24T02:41:10Z"}
        return {"dag_run_id": name, "conf": self.runs[name], "state": self.state(name), **moments}

    def state(self, run: str) -> str:
        """How a run stands."""
        if self.held:
            return "running"
        return "failed" if self.failed(run) else "success"


def server(site: Site, port: int = 0) -> ThreadingHTTPServer:
    """A server of a site, at a port."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or "{}")
            path = self.path.partition("?")[0]
            last = path.rsplit("/", 1)[1]
            kind = f"{self.command} {'a run' if '__' in last else last}"
            site.asked[kind] += 1
            if site.busy[kind]:
                site.busy[kind] -= 1
                self.say(HTTPStatus.SERVICE_UNAVAILABLE, {})
                return
            status, said = int(HTTPStatus.UNAUTHORIZED), None
            if self.headers.get("Authorization") == f"Bearer {site.token}" or "token" in kind:
                status, said = site.answer(self.command, path, body)
            if site.lost[kind]:  # it has been done: only its answer does not arrive
                site.lost[kind] -= 1
                return
            self.say(status, said)

        do_POST = do_GET  # noqa: N815 - the name is the library's

        def say(self, status: int, said: Any) -> None:
            text = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", port), Answers)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ropewalk.cli.backfill.POLL", 0.05)


@pytest.fixture
def sessions() -> Iterator[Any]:
    """What opens a session with a site."""
    with ExitStack() as stack:

        def opened(site: Site) -> Airflow:
            url = stack.enter_context(serving(server(site)))
            client = stack.enter_context(httpx.Client(base_url=url, trust_env=False))
            return Airflow(client, {"url": url, "username": "u", "password": "p"})

        yield opened


def done(session: Airflow, site: Site, days: tuple[date, date] = DAYS, size: int = 31) -> Outcome:
    """What becomes of a backfill of some days."""
    groups = batches(site.workflow, *days, size)
    return Backfill(session, site.workflow, {}, Console(quiet=True)).run(groups, 2)


def all_names(one: Workflow, days: tuple[date, date]) -> set[str]:
    """The names of all partitions of some days."""
    return {part.name for batch in batches(one, *days, 1000) for part in batch.partitions}


@pytest.mark.parametrize(
    ("grain", "bad"),
    [
        ("day", ["2013-01-02"]),
        ("hour", ["2013-01-02T05-0500"]),
        ("hour", ["2013-01-01T00-0500"]),  # the first of all
        ("hour", ["2013-01-04T23-0500"]),  # the last
        ("hour", ["2013-01-02T23-0500", "2013-01-03T00-0500"]),  # none between them
        ("hour", ["2013-01-02T05-0500", "2013-01-02T07-0500"]),  # one between them, alone
        ("hour", ["2013-01-02T00-0500", "2013-01-03T00-0500"]),  # and a day and an hour less
    ],
)
def test_what_is_bad_keeps_no_other_partition(sessions: Any, grain: str, bad: list[str]) -> None:
    site = Site(workflow(grain), set(bad))
    outcome = done(sessions(site), site)
    every = all_names(site.workflow, DAYS)
    assert set(outcome.failed) == set(bad) < every
    assert sorted(outcome.done) == sorted(every - set(bad))
    succeeded = [name for run in site.runs if not site.failed(run) for name in site.names(run)]
    assert sorted(succeeded) == sorted(outcome.done)  # it is what the runs have done, each once


def test_a_bad_hour_of_a_month_costs_two_runs_more(sessions: Any) -> None:
    site, january = Site(workflow("hour"), {"2013-01-17T09-0500"}), (DAYS[0], date(2013, 1, 31))
    outcome = done(sessions(site), site, january)
    assert (len(outcome.done), list(outcome.failed)) == (743, ["2013-01-17T09-0500"])
    assert len(site.runs) == 3


@pytest.mark.parametrize(
    ("zone", "days", "bad", "count"),
    [
        ("America/New_York", ("2013-11-02", "2013-11-04"), "2013-11-03T01-0400", 73),  # comes twice
        ("America/New_York", ("2013-03-09", "2013-03-11"), "2013-03-10T03-0400", 71),
        ("Asia/Kolkata", ("2013-01-01", "2013-01-03"), "2013-01-02T04+0530", 73),  # begins in an hour
    ],
)  # fmt: skip
def test_hours_are_cut_by_their_moments_whatever_the_clock_does(
    sessions: Any, zone: str, days: tuple[str, str], bad: str, count: int
) -> None:
    site = Site(workflow("hour", zone), {bad})
    first, last = map(date.fromisoformat, days)
    outcome = done(sessions(site), site, (first, last))
    assert list(outcome.failed) == [bad]
    assert len(set(outcome.done)) == len(outcome.done) == count - 1


def test_what_a_partition_takes_is_told_by_the_hours_that_were_done(sessions: Any) -> None:
    site = Site(workflow("hour"), {"2013-01-01T10-0500"})
    session = sessions(site)
    done(session, site, (DAYS[0], DAYS[0]))
    site.runs = {run: conf for run, conf in site.runs.items() if not site.failed(run)}
    assert rate(session, site.workflow) == pytest.approx(10 / 23)


@pytest.mark.parametrize("how", ["lost", "busy"])
@pytest.mark.parametrize(
    "call", ["POST dagRuns", "GET taskInstances", "GET a run", "GET failed", "POST token"]
)
def test_a_call_that_has_no_answer_is_made_again(sessions: Any, call: str, how: str) -> None:
    site = Site(workflow(), {"2013-01-02"})
    session = sessions(site)
    site.token = "another"  # as a day later: it logs in again
    getattr(site, how)[call] = 2
    outcome = done(session, site)
    assert sorted(outcome.done) == ["2013-01-01", "2013-01-03", "2013-01-04"]
    assert list(outcome.failed) == ["2013-01-02"]
    assert len(site.runs) == 3  # none was asked for twice
    assert not getattr(site, how)[call]


def test_a_restart_of_airflow_is_waited_for() -> None:
    site = Site(workflow(), {"2013-01-02"}, held=True)
    with ExitStack() as stack:
        first = server(site)
        with serving(first) as url:
            client = stack.enter_context(httpx.Client(base_url=url, trust_env=False))
            session = Airflow(client, {"url": url, "username": "u", "password": "p"})
            worker = stack.enter_context(ThreadPoolExecutor(1))
            doing = worker.submit(done, session, site)
            until(lambda: bool(site.asked["GET taskInstances"]))
        time.sleep(0.3)  # some looks at it find nobody
        assert not doing.done()
        site.held = False
        stack.enter_context(serving(server(site, first.server_port)))
        outcome = doing.result()
    assert (len(outcome.done), list(outcome.failed)) == (3, ["2013-01-02"])


def test_an_airflow_that_stays_away_is_told(sessions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ropewalk.cli.backfill.PATIENCE", 0.2)
    site = Site(workflow())
    session = sessions(site)
    site.lost["POST dagRuns"] = 1000
    with pytest.raises(RetryableError, match="does not answer"):
        done(session, site)


def until(true: Callable[[], bool]) -> None:
    """Return once it is true."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
