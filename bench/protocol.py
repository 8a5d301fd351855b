"""(g) What exactly once costs a task: the ledger, the seat and the manifest, and how often the database is asked;
and how long a task waits whose stage was killed.

The ledger's statements and the store's are those of one task, one after the other, without the work and its process.
The round trips are counted on the wire, of a whole task of the process stage; those of a load in both its databases.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from urllib.parse import urlsplit

import psycopg
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import DatasetRef, Report, RunInfo, TaskRequest, Use
from ropewalk.contracts.tokens import new_signing_key
from ropewalk.kernel.datasets import DatasetStore
from ropewalk.kernel.ledger import Ledger
from ropewalk.kernel.migrations import migrate
from ropewalk.testing.proxy import Proxy
from ropewalk.testing.services import StageService, running

from bench.clock import seconds
from bench.data import sample
from bench.options import Options
from bench.stack import Stack, stack
from bench.table import Figure
from bench.transfer import written

TITLE = "(g) what exactly once costs a task"
TASKS = 30
LOST = 3
EMPTY = b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\xff\xff"  # a binary COPY of no rows
READY = b"Z\0\0\0\x05"  # how an answer ends: ReadyForQuery and its length
FINISHED = 10_000
MANY = """
INSERT INTO process.task (key, workflow, step, run_id, requested, request, asker, state, attempt, report, ended_at)
SELECT md5(n::text) || md5((-n)::text), workflow, step, 'run-' || n, n, request, '', state, 1, report, ended_at
FROM generate_series(1, %s) AS n, (SELECT * FROM process.task WHERE state = 'succeeded' LIMIT 1) AS one
"""

Fence = Callable[[], None]
Work = Callable[[str, int, Fence], Report]
"""A task's work, given its key, the number of the attempt and the fence."""


def run(options: Options) -> Iterator[Figure]:
    """Counts a task's round trips, and measures the protocol by itself, with an empty ledger and with a full one."""
    with stack(options.folder, ()) as where:
        trips, load_trips = _round_trips(where), _load_round_trips(where)
        empty = _cost(where)
        with psycopg.connect(where.databases.stage("process"), autocommit=True) as session:
            session.execute(MANY, [FINISHED])
            session.execute("ANALYZE process.task")
        full = _cost(where)
        lost = _taken_over(where)
    yield Figure("the protocol", empty * 1000, "at most", 50, 1, unit="ms")
    yield Figure("round trips of a task", trips, "at most", 8, 1, unit="")
    yield Figure("more of a load than of a plain one", load_trips, "at most", 8, 1, unit="")
    yield Figure(
        f"with {FINISHED:,} finished", full * 1000, "with none", empty * 1000, 1.5, unit="ms"
    )
    yield Figure("killed, to taken over", lost, "at most", 15, 1)


def _cost(where: Stack) -> float:
    """The median seconds of the protocol of a task."""
    with guarded(where) as guard:
        return median(seconds(lambda: guard.do(*_nothing(where.store))) for _ in range(TASKS))


def _nothing(store: DatasetStore) -> tuple[TaskRequest, Work]:
    """A task whose work is none: the seat, and the manifest."""
    request = _request(secrets.token_hex(8))

    def work(key: str, attempt: int, fence: Fence) -> Report:
        draft = store.draft(key, attempt)
        now = datetime.now(UTC)
        report = Report(
            key=key, workflow="bench", step="one", stage="process", plugins=["sql"], run="bench",
            outputs=draft.finish(), started=now, ended=now,
        )  # fmt: skip
        draft.commit(report, before=fence)
        return report

    return request, work


@dataclass
class Guard:
    """Every statement about one task, in the order in which a service makes them."""

    ledger: Ledger
    loop: asyncio.Runner

    def do(self, request: TaskRequest, work: Work) -> None:
        """Do a task as an attempt that holds its lease: asked for, taken, renewed before it commits, and told."""
        key, run = task_key(request), self.loop.run
        run(self.ledger.submit(key, request))
        row = run(self.ledger.claim("bench:0#", 60))
        number = row["attempt"] if row else 1
        report = work(key, number, lambda: self._renew(key, number))
        run(self.ledger.add_lines(key, number, [(datetime.now(UTC), "info", "done")]))
        run(self.ledger.end(key, number, report))
        run(self.ledger.read(key))

    def _renew(self, key: str, attempt: int) -> None:
        if not self.loop.run(self.ledger.renew(key, attempt, 60, None)):
            raise RuntimeError("the task is no longer this attempt's")


@contextmanager
def guarded(where: Stack) -> Iterator[Guard]:
    """The ledger of a stage that does not run here."""
    url = where.databases.stage("process")
    migrate(url, "process")
    with asyncio.Runner() as loop:
        ledger = Ledger.at(url, "process")
        loop.run(ledger.pool.open(wait=True))
        try:
            yield Guard(ledger, loop)
        finally:
            loop.run(ledger.pool.close())


def _request(name: str) -> TaskRequest:
    """A small task that nobody has asked for yet."""
    use = Use(plugin="sql", options={"query": f"SELECT '{name}' AS name"})
    return TaskRequest(
        workflow="bench", step="one", stage="process", do=[use], run=RunInfo(id="bench")
    )


def _taken_over(where: Stack) -> float:
    """Seconds from the kill of a replica until another has taken over the last of its tasks."""
    hits = where.folder / "hits"
    env = {
        "ROPEWALK_FAILPOINT": f"task.begun:hang:{LOST}",  # so many hang, and what comes after them does not
        "ROPEWALK_FAILPOINT_HITS": str(hits),
        "ROPEWALK_WORKERS": str(LOST),
    }
    dsn, key = where.databases.stage("process"), new_signing_key()
    first, other = (
        StageService("process", dsn, where.folder, env, key=key, patience=300) for _ in range(2)
    )
    with running(first):
        lost = [first.submit(_request(secrets.token_hex(8))).key for _ in range(LOST)]
        while not hits.exists() or len(hits.read_text(encoding="ascii").splitlines()) < LOST:
            time.sleep(0.05)
        with running(other):
            begun = time.monotonic()
            first.stop(signal.SIGKILL)
            while any(other.read(one).attempt == 1 for one in lost):
                time.sleep(0.05)
            taken = time.monotonic() - begun
    return taken


def _round_trips(where: Stack) -> float:
    """How often a task of a stage asks the database, counted by its answers on the wire."""
    with (
        _counted(where.databases.stage("process")) as (dsn, answers),
        running(StageService("process", dsn, where.folder, patience=300)) as (one,),
    ):
        one.do(_request("warm"))
        answers.clear()
        for _ in range(TASKS):
            one.do(_request(secrets.token_hex(8)))
        return sum(answers) / TASKS


def _load_round_trips(where: Stack) -> float:
    """How much oftener a load asks its databases than a loader that nothing guards."""
    direct = where.databases.stage("store")
    with (
        _counted(direct) as (ledger, asked),
        _counted(where.dsn) as (target, loaded),
        running(
            StageService(
                "store", ledger, where.folder, {"ROPEWALK_CONNECTION_RESULTS": target}, patience=300
            )
        ) as (one,),
    ):
        refs = [
            DatasetRef.model_validate_json(written(where.store, sample(rows)))
            for rows in (1000, 1001)
        ]
        for number in range(2):
            one.do(_load(refs[number], number))
        asked.clear()
        loaded.clear()
        for number in range(2, TASKS + 2):
            one.do(_load(refs[number % 2], number))
        ours = (sum(asked) + sum(loaded)) / TASKS
        loaded.clear()
        _plain_load(target)
        return ours - sum(loaded)


def _load(ref: DatasetRef, number: int) -> TaskRequest:
    """The same partition once more, with other rows than before."""
    options = {"schema": "bench", "mode": "append", "tables": {"sample": "again"}}
    return TaskRequest(
        workflow="bench", step="publish", stage="store", do=[Use(plugin="postgres", options=options)],
        inputs={"sample": ref}, generation=str(number), run=RunInfo(id="one", requested=number + 1),
    )  # fmt: skip


def _plain_load(dsn: str) -> None:
    """What takes the same rows' place in a transaction, once it has seen that the columns are there."""
    with psycopg.connect(dsn) as session:
        session.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'bench.again'::regclass AND attnum > 0"
        )
        session.execute("DELETE FROM bench.again WHERE _ropewalk_partition = 'bench.publish/one'")
        with session.cursor().copy("COPY bench.again FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(EMPTY)


@contextmanager
def _counted(direct: str) -> Iterator[tuple[str, list[int]]]:
    """A way to a database, and how many answers come back on it."""
    answers: list[int] = []
    port = urlsplit(direct).port or 5432
    proxy = Proxy(port, lambda data: answers.append(data.count(READY)))
    try:
        yield (
            f"{direct.replace(f':{port}/', f':{proxy.port}/')}?sslmode=disable&gssencmode=disable",
            answers,
        )
    finally:
        proxy.close()
