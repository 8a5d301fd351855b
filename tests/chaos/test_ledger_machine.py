"""Ledger and dataset store against a model: submit, retry, clear, cancel, crash, takeover and commit in any order.

What it must keep is said of the source's rows, which are numbers: the windows that the runs of a step have read last
lie side by side. No number is lost between two, and none is in both.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ropewalk.contracts.errors import Problem, RetryableError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import Report, RunInfo, State, TaskRequest, Use
from ropewalk.kernel.datasets import Draft
from ropewalk.kernel.ledger import Ledger, Row
from ropewalk.kernel.manifests import folder
from ropewalk.kernel.migrations import migrate
from ropewalk.kernel.perform import WINDOW, open_store
from ropewalk.kernel.settings import Settings

from tests.conftest import Postgres

RUNS = ("a", "b", "c")
OWNERS = ("one:1#x", "two:2#x")
ENDED = [state for state in State if state.ended]
JUMP = (
    "UPDATE store.task SET ended_at = ended_at + interval '1h', read_at = read_at + interval '1h'"
)
Window = tuple[int, int]


@dataclass
class Attempt:
    """A process that does a task: what it knows, whether its lease holds is for the ledger to say."""

    key: str
    run: str
    number: int
    window: tuple[int, int | None]
    row: Row
    draft: Draft
    fenced: bool = False
    created: bool = False


@dataclass
class Model:
    """What must be so."""

    states: dict[str, State] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    expired: set[str] = field(
        default_factory=set
    )  # whose lease has run out since they were claimed
    seats: dict[str, int] = field(default_factory=dict)
    manifests: dict[str, Report] = field(default_factory=dict)
    read: dict[str, Window] = field(
        default_factory=dict
    )  # by run: what its last finished task has read


class Machine(RuleBasedStateMachine):
    """The rules; ``ledger``, ``folder``, ``loop`` and ``session`` are the test's."""

    ledger: Ledger
    folder: Path
    loop: asyncio.Runner
    session: psycopg.Connection[Any]

    @initialize()
    def begin(self) -> None:
        self.session.execute("TRUNCATE store.task CASCADE")
        home = Path(tempfile.mkdtemp(dir=self.folder))
        settings = Settings(store_url=(home / "store").as_uri(), scratch_dir=home / "scratch")
        self.store = open_store(settings)
        self.model = Model()
        self.generations = dict.fromkeys(RUNS, 0)
        self.alive: list[Attempt] = []
        self.source = 0
        self.askers = map(str, itertools.count())

    def do(self, work: Any) -> Any:
        """Await what the ledger does."""
        return self.loop.run(work)

    def request(self, run: str) -> TaskRequest:
        """What a run asks for: its reading of the step."""
        return TaskRequest(
            workflow="demo",
            step="reads",
            stage="store",
            do=[Use(plugin="numbers", options={"cursor": "n"})],
            generation=f"{run}/{self.generations[run]}",
            run=RunInfo(id=run, attempt=next(self.askers)),
        )

    @rule(rows=st.integers(1, 5))
    def the_source_grows(self, rows: int) -> None:
        self.source += rows

    @rule(run=st.sampled_from(RUNS))
    def submit(self, run: str) -> None:
        """Ask for the first time, or again."""
        request = self.request(run)
        key = task_key(request)
        status = self.do(self.ledger.submit(key, request))
        before = self.model.states.get(key)
        again = before in {None, State.FAILED, State.CANCELLED}
        self.model.states[key] = State.QUEUED if again else before  # type: ignore[assignment]
        assert status.state is self.model.states[key]

    @precondition(lambda self: self.some(*ENDED))
    @rule(run=st.sampled_from(RUNS))
    def clear(self, run: str) -> None:
        """A user clears what has ended: the next time it is read anew."""
        state = self.model.states.get(task_key(self.request(run)))
        if state is not None and state.ended:
            self.generations[run] += 1

    @precondition(lambda self: self.some(State.QUEUED, State.RUNNING))
    @rule(run=st.sampled_from(RUNS), late=st.booleans())
    def cancel(self, run: str, *, late: bool) -> None:
        """For the asker of now, or for one that has been replaced."""
        request = self.request(run)
        key = task_key(request)
        if key not in self.model.states:
            return
        found = self.session.execute(
            "SELECT asker FROM store.task WHERE key = %s", [key]
        ).fetchone()
        status = self.do(
            self.ledger.cancel(key, "an earlier one" if late else str(found and found[0]))
        )
        if not late and not self.model.states[key].ended:
            self.model.states[key] = State.CANCELLED
        assert status.state is self.model.states[key]

    @precondition(lambda self: self.some(State.QUEUED, State.RUNNING))
    @rule(owner=st.sampled_from(OWNERS))
    def claim(self, owner: str) -> None:
        """A replica takes a task, if one waits that may run."""
        row = self.do(self.ledger.claim(owner, 3600))
        running = [key for key, state in self.model.states.items() if state is State.RUNNING]
        if row is None:
            waiting = [key for key, state in self.model.states.items() if state is State.QUEUED]
            assert running or not waiting, "a task waits for nothing"
            assert not self.model.expired & {*running}, "nobody takes over what is lost"
            return
        key, number = row["key"], row["attempt"]
        assert number == self.model.attempts.get(key, 0) + 1
        assert set(running) <= {key}, "two that read on from one watermark run at a time"
        assert key not in running or key in self.model.expired, "a lease that holds is taken over"
        self.model.states[key], self.model.attempts[key] = State.RUNNING, number
        self.model.expired.discard(key)
        self.model.seats[key] = number
        window = (row["since"] or 0, row["until"])
        draft = self.store.draft(key, number)
        self.alive.append(Attempt(key, row["run_id"], number, window, row, draft))

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def ask_the_fence(self, data: st.DataObject) -> None:
        self._ask(data.draw(st.sampled_from(self.alive)))

    def _ask(self, attempt: Attempt) -> None:
        held = self._renew(attempt)
        attempt.fenced = attempt.fenced or held

    def _renew(self, attempt: Attempt) -> bool:
        held: bool = self.do(self.ledger.renew(attempt.key, attempt.number, 3600, None))
        assert held == self.holds(attempt)
        self.model.expired -= {attempt.key} if held else set()
        return held

    @precondition(lambda self: self.fenced())
    @rule(data=st.data())
    def create_the_manifest(self, data: st.DataObject) -> None:
        """At any time after the fence has said yes, as one that was stopped there may: then the seat decides."""
        self._create(data.draw(st.sampled_from(self.fenced())))

    def fenced(self) -> list[Attempt]:
        """Those that may commit for all they know."""
        return [one for one in self.alive if one.fenced and not one.created]

    def _create(self, attempt: Attempt) -> None:
        seated = self.model.seats[attempt.key] == attempt.number
        report, attempt.created = self.report(attempt), True
        made = self._commit(attempt, report)
        assert (made is not None) == seated, "it is the seat that lets an attempt commit"
        if made is not None:
            assert made == self.model.manifests.setdefault(attempt.key, report)

    @staticmethod
    def _commit(attempt: Attempt, report: Report) -> Report | None:
        """What counts after an attempt's commit; None where another has its seat."""
        try:
            return attempt.draft.commit(report, before=lambda: None).report
        except RetryableError as error:
            attempt.draft.discard()
            if error.code != "fenced":
                raise
            return None

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """With what is in the store; else with an error."""
        self._end(data.draw(st.sampled_from(self.alive)))

    def _end(self, attempt: Attempt) -> None:
        self.alive.remove(attempt)
        found = self.store.manifest(attempt.key)
        made = found.report if found is not None else None
        if made is not None and all(getattr(made, name) == attempt.row[name] for name in WINDOW):
            outcome: Report | Problem = made
        else:
            outcome = Problem(detail="it fails, or another has read on", retryable=True)
        ended = self.do(self.ledger.end(attempt.key, attempt.number, outcome))
        assert ended == self.holds(attempt)
        if ended:
            done = isinstance(outcome, Report)
            self.model.states[attempt.key] = State.SUCCEEDED if done else State.FAILED
            if isinstance(outcome, Report):
                self.model.read[attempt.run] = (
                    int(outcome.since or 0),
                    int(outcome.watermark or 0),
                )

    @precondition(lambda self: not self.some(State.QUEUED, State.RUNNING))
    @rule(run=st.sampled_from(RUNS), rows=st.integers(1, 5), cleared=st.booleans())
    def go_through(self, run: str, rows: int, *, cleared: bool) -> None:
        """A run does all of its part, for the first time or after a clear."""
        self.the_source_grows(rows)
        if cleared:
            self.clear(run)
        self.submit(run)
        if self.some(State.QUEUED):
            self.claim(OWNERS[0])
            attempt = self.alive[-1]
            self._ask(attempt)
            self._create(attempt)
            self._end(attempt)

    @precondition(lambda self: self.some(State.SUCCEEDED))
    @rule(run=st.sampled_from(RUNS))
    def what_it_made_is_collected(self, run: str) -> None:
        """The task is then to be done again where it is asked for."""
        key = task_key(self.request(run))
        if self.model.states.get(key) is State.SUCCEEDED:
            self.do(self.ledger.forget(key))
            for path, _ in list(self.store.objects.ages(folder(key))):
                self.store.objects.delete(path)
            self.model.states[key] = State.CANCELLED
            del self.model.manifests[key]

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def be_silent_too_long(self, data: st.DataObject) -> None:
        """The lease of a running task runs out; its process may live on."""
        self._expire(data.draw(st.sampled_from(self.alive)))

    def _expire(self, attempt: Attempt) -> None:
        self.session.execute(
            "UPDATE store.task SET lease_until = clock_timestamp() - interval '1 h'"
            " WHERE key = %s AND state = 'running'",
            [attempt.key],
        )
        if self.model.states[attempt.key] is State.RUNNING:
            self.model.expired.add(attempt.key)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), owner=st.sampled_from(OWNERS))
    def be_taken_over(self, data: st.DataObject, owner: str) -> None:
        """A process is silent, another takes its task, and it asks for the lease."""
        attempt = data.draw(st.sampled_from(self.alive))
        self._expire(attempt)
        self.claim(owner)
        self._renew(attempt)

    @rule()
    def the_clock_jumps_back(self) -> None:
        """By an hour: what was written before has a time to come."""
        self.session.execute(JUMP)

    @precondition(lambda self: any(self.holds(one) and not one.created for one in self.alive))
    @rule(data=st.data(), owner=st.sampled_from(OWNERS))
    def be_stopped_behind_the_fence(self, data: st.DataObject, owner: str) -> None:
        """A process is let through, and goes on when another has its task: the seat decides."""
        able = [one for one in self.alive if self.holds(one) and not one.created]
        attempt = data.draw(st.sampled_from(able))
        self._ask(attempt)
        self._expire(attempt)
        self.claim(owner)
        self._create(attempt)

    @precondition(lambda self: self.some(State.RUNNING))
    @rule(owner=st.sampled_from(OWNERS))
    def restart(self, owner: str) -> None:
        """A replica is started anew at its place: what it ran is queued again."""
        place = owner.partition("#")[0]
        rows = self.session.execute(
            "SELECT key FROM store.task WHERE state = 'running' AND split_part(owner, '#', 1) = %s",
            [place],
        ).fetchall()
        assert self.do(self.ledger.requeue(f"{place}#anew")) == len(rows)
        for (key,) in rows:
            self.model.states[key] = State.QUEUED

    def report(self, attempt: Attempt) -> Report:
        """What an attempt has read: up to the source's end, or where another went on."""
        _, until = attempt.window
        now = datetime.now(UTC)
        return Report(
            key=attempt.key, workflow="demo", step="reads", stage="store", plugins=["numbers"], run=attempt.run,
            watermark=self.source if until is None else until, started=now, ended=now,
            **{name: attempt.row[name] for name in WINDOW},
        )  # fmt: skip

    def some(self, *states: State) -> bool:
        """Whether a task is in one of these states."""
        return any(state in states for state in self.model.states.values())

    def holds(self, attempt: Attempt) -> bool:
        """Whether the task is the attempt's."""
        state = self.model.states[attempt.key]
        return state is State.RUNNING and self.model.attempts[attempt.key] == attempt.number

    @invariant()
    def the_states_are_the_models(self) -> None:
        if hasattr(self, "model"):
            found: dict[str, str] = dict(
                self.session.execute("SELECT key, state FROM store.task").fetchall()
            )
        assert found == {key: str(state) for key, state in self.model.states.items()}

    @invariant()
    def the_manifests_are_the_models(self) -> None:
        if hasattr(self, "model"):
            found = {key: self.store.manifest(key) for key in self.store.committed()}
            reports = {key: manifest and manifest.report for key, manifest in found.items()}
            assert reports == self.model.manifests

    @invariant()
    def no_number_is_lost_and_none_is_read_twice(self) -> None:
        windows = sorted(self.model.read.values()) if hasattr(self, "model") else []
        for (_, end), (start, _) in itertools.pairwise(windows):
            assert end == start, windows
        assert not windows or windows[0][0] == 0, windows


@pytest.mark.timeout(600)
def test_any_order_of_events(postgres: Postgres, tmp_path: Path) -> None:
    dsn = postgres.database().stage("store")
    migrate(dsn, "store")
    with asyncio.Runner() as loop, psycopg.connect(dsn, autocommit=True) as session:
        ledger = Ledger.at(dsn, "store")
        loop.run(ledger.pool.open())
        machine = type(
            "TestMachine",
            (Machine,),
            {"ledger": ledger, "folder": tmp_path, "loop": loop, "session": session},
        )
        checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=60,
                    stateful_step_count=50,
                    deadline=None,
                    suppress_health_check=checks,
                ),
            )
        finally:
            loop.run(ledger.pool.close())
