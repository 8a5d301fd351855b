"""Random schedules: loads at once and out of order, and faults of every kind at every point, all drawn from a seed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import date
from operator import methodcaller
from pathlib import Path

import psycopg
from ropewalk.contracts.accounts import accounts
from ropewalk.contracts.errors import NotFoundError, RopewalkError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import Report, RunInfo, State, TaskRequest, Use
from ropewalk.testing.proxy import Proxy
from ropewalk.testing.sinks import day
from ropewalk.workflow import loads, partition_on, partitions, task_request

from tests.chaos.loads import (
    FILE_MODES,
    MODES,
    TABLES,
    FileReader,
    Load,
    Reader,
    Sums,
    expected,
    other_files,
    read,
    read_files,
    sums,
    unbalanced,
)
from tests.chaos.world import LEASE, WAYS, World, gone, world

Fault = Callable[["Schedule", int], bool]
"""What is done to the world when a process has reached a point; whether it met anything."""

POINTS = (
    "submit.asked", "submit.entered", "task.claimed", "task.begun", "part.written", "part.added", "manifest.fenced",
    "manifest.written", "manifest.created", "task.done", "task.ending",
)  # fmt: skip
TABLE_POINTS = (
    "sink.connected", "sink.locked", "sink.deleted", "sink.copying", "sink.loaded", "sink.fenced", "sink.committed",
)  # fmt: skip
POINTS_APART = (*TABLE_POINTS, "sink.prepared", "sink.decided")  # where they are in two databases
FILE_POINTS = (
    "files.made",
    "files.fenced",
    "files.alone",
    "files.moved",
    "files.taken",
    "files.recorded",
)
SINKS = ("postgres", "postgres", "postgres", "files")
STAGES = {"collect": 2, "process": 2, "store": 2}
# One dataset twice, a process step between, or several days at once.
CHAINS = ("plain", "plain", "plain", "plain", "steps", "batch")
DAYS = ((1, 2), (2, 3), (1, 3))  # of a batch: the first and the last
WORKFLOW = """
start: 2013-01-01
partition: day
steps:
  one:
    collect: files
    with: {{path: "data://{name}-{{{{ partition.date }}}}.csv", columns: {{n: integer, day: string, v: integer}}}}
  two:
    process: [{{sql: "SELECT n, day, v FROM one WHERE n >= 0"}}]
  publish:
    store: {sink}
    from: [one, two]
    with: {options}
"""
SOMEWHERE = "anywhere"  # the phase of a fault that comes at a random moment
WAIT = (
    4.0 * LEASE
)  # seconds for a point to be reached: a load may wait for another's lock, or for a lease
HALVED = 0.2  # seconds for something to go by a way
BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Tally:
    """What was done to the world, and what came of it."""

    schedules: int = 0
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    chains: Counter[str] = field(default_factory=Counter)
    looks: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in another's."""
        self.schedules += other.schedules
        self.faults += other.faults
        self.stages += other.stages
        self.chains += other.chains
        self.looks += other.looks
        self.wrong += other.wrong


def run(world: World, seed: int) -> Tally:
    """Do the schedule of a seed: its faults, and what was wrong after it."""
    dice = random.Random(seed)  # noqa: S311 - it must be repeatable
    tally = Tally(schedules=1)
    try:
        tally.wrong = [
            f"seed {seed}: {wrong}" for wrong in Schedule(world, dice, f"s{seed}", tally).run()
        ]
    except (AssertionError, RopewalkError, psycopg.Error, OSError) as error:
        tally.wrong = [f"seed {seed}: {type(error).__name__}: {error}"]
    finally:
        world.heal()
    return tally


def run_all(seeds: list[int], until: float, *, bucket: bool, far: bool) -> Tally:
    """Do schedules in a world of their own, until so late."""
    with tempfile.TemporaryDirectory(prefix="ropewalk-chaos-") as home:
        Path(home).chmod(0o711)
        with world(Path(home), bucket=bucket, far=far, stages=STAGES) as made:
            return _in_one_world(made, seeds, until)


def _in_one_world(made: World, seeds: list[int], until: float) -> Tally:
    total = Tally()
    for seed in seeds:
        if time.time() > until:
            break
        begun = time.monotonic()
        found = run(made, seed)
        total.add(found)
        faults = ", ".join(f"{kind} at {point}" for kind, point in found.faults)
        sys.stderr.write(f"seed {seed}: {time.monotonic() - begun:.1f} s; {faults or 'no fault'}\n")
        for wrong in found.wrong:
            sys.stderr.write(f"  WRONG {wrong}\n")
        sys.stderr.flush()
    return total


class Schedule:
    """The loads and the faults of one seed."""

    def __init__(self, world: World, dice: random.Random, schema: str, tally: Tally) -> None:
        self.world, self.dice, self.tally = world, dice, tally
        self.files = dice.choice(SINKS) == "files"
        apart = not self.files and dice.choice((False, False, True))
        mode = dice.choice(FILE_MODES if self.files else MODES)
        self.chain = dice.choice(CHAINS)
        self.places = world.places(apart=apart)
        self.base = Load(
            schema, mode, 1, 1, 1000, apart=apart, sink="files" if self.files else "postgres",
            to=3 if self.chain == "batch" else 0,
        )  # fmt: skip
        self.loads = [
            self._load(version, 1000 * order)
            for version, order in enumerate(dice.sample(range(2, 12), 3), 2)
        ]
        kinds = [kind for kind in FAULTS if world.can(kind, files=self.files)]
        places = FILE_POINTS if self.files else POINTS_APART if apart else TABLE_POINTS
        points = (*POINTS, *places, SOMEWHERE)
        alike = _alike(kinds)
        self.plan = [(dice.choice(points), dice.choice(dice.choice(alike))) for _ in range(3)]
        self.keys: list[TaskRequest] = []
        self._nobody: Reader | None = None  # the reader that does not look
        tally.chains[self.chain] += 1

    def _load(self, version: int, requested: int) -> Load:
        if self.chain == "batch":
            first, last = self.dice.choice(DAYS)
            return replace(self.base, day=first, to=last, version=version, requested=requested)
        day, rows = self.dice.choice((1, 1, 2)), self.dice.choice((40, 2000))
        return replace(self.base, day=day, version=version, requested=requested, rows=rows)

    def run(self) -> list[str]:
        """Everything, from the first load to the last look."""
        self.world.arm("")
        self._do(self.base)
        with (
            self._reader() as reader,
            ThreadPoolExecutor(len(self.loads)) as pool,
        ):
            asked = [pool.submit(self._do, load) for load in self.loads]
            for point, kind in self.plan:
                if self._done(asked):
                    break
                self._fault(point, kind, asked)
            self.world.arm("")
            self.world.wake()
            runs = [one.result() for one in asked]
        self.tally.looks += reader.seen
        blind = [] if reader.seen or reader is self._nobody else ["the reader has seen nothing"]
        return [*reader.wrong[:3], *blind, *self._wrong(runs)]

    def _reader(self) -> AbstractContextManager[Reader]:
        """Looks all the while; but of several files, and of a bucket's, one changes after the other: nobody looks."""
        if not self.files:
            return Reader(self.places, self.base.schema, self._allowed())
        reader = FileReader({}, self.base.schema, self._allowed())
        apart = self.base.mode == "replace" or self.world.in_bucket
        if apart:
            self._nobody = reader
        return contextlib.nullcontext(reader) if apart else reader

    def _allowed(self) -> set[Sums]:
        """The tables after any of the loads, whichever have been done: of a batch day by day."""
        each = [one for load in self.loads for one in load.days]
        return {
            sums(expected([self.base, *some]))
            for number in range(len(each) + 1)
            for some in itertools.combinations(each, number)
        }

    def _do(self, load: Load) -> dict[str, Report]:
        """Have the source's rows collected, and loaded: the reports by step."""
        return self._do_plain(load) if self.chain == "plain" else self._do_steps(load)

    def _do_steps(self, load: Load) -> dict[str, Report]:
        """All steps of a workflow, each by what the one before has put out."""
        write(self.world, load)
        name = f"{load.schema}-{load.version}"
        text = WORKFLOW.format(name=name, sink=load.sink, options=json.dumps(load.options))
        workflow = loads(text, Path(f"{load.schema}.yaml"))
        first, last = (date(2013, 1, number) for number in (load.day, load.to or load.day))
        reports: dict[str, Report] = {}
        for step in workflow.order():
            request = task_request(
                workflow, step, run=RunInfo(id=f"run-{load.requested}", requested=load.requested),
                partition=partition_on(workflow, first),
                batch=list(partitions(workflow, first, last)) if load.to else (),
                inputs={name: one.output for name, one in reports.items() if one.output},
                upstream={name: one.key for name, one in reports.items()},
                generation=str(load.version),
            )  # fmt: skip
            self.keys.append(request)
            reports[step.name] = self.world.drive(request)
        return reports

    def _do_plain(self, load: Load) -> dict[str, Report]:
        """A dataset, loaded twice."""
        collected = self.world.drive(source(self.world, load))
        if collected.output is None:
            raise AssertionError("collect put nothing out")
        request = load.request(collected.output)
        self.keys.append(request)
        return {**dict.fromkeys(TABLES, collected), request.step: self.world.drive(request)}

    @staticmethod
    def _done(asked: Iterable[Future[dict[str, Report]]]) -> bool:
        return all(one.done() for one in asked)

    def _fault(self, point: str, kind: str, asked: list[Future[dict[str, Report]]]) -> None:
        """Wait until the point is reached, and do what the kind says; a fault that met nobody does not count."""
        if point == SOMEWHERE:
            time.sleep(self.dice.uniform(0, 0.5))
            child = self.world.some_child()
        else:
            self.world.arm(f"{point}:stop")
            child = self.world.hit(WAIT, unless=lambda: self._done(asked))
            self.world.arm("")
        if child is None or gone(child):
            return
        with contextlib.suppress(ProcessLookupError):  # it went by itself meanwhile
            stage = self.world.replica(child).stage
            if FAULTS[kind](self, child):
                self.tally.faults[kind, point] += 1
                self.tally.stages[stage] += 1
        _continue(child)

    def _wrong(self, runs: Iterable[dict[str, Report]]) -> list[str]:
        """What is not as after a clean pass."""
        wrong = [one.wrong for reports in runs for one in accounts(reports) if one.wrong]
        schema = self.base.schema
        wrong += [] if self.files else unbalanced(self.places, schema)
        tables = set(read_files(schema) if self.files else read(self.places, schema))
        if tables != {expected([self.base, *self.loads])}:
            found = [sorted(Counter(v for (_, _, v), _ in one).items()) for one in tables]
            wrong.append(f"the tables hold {found}, after {self.loads}")
        for request in self.keys:
            manifest = self.world.store_of(request.stage).manifest(task_key(request))
            if manifest is None:
                wrong.append(f"there is no manifest of {request.step}")
        wrong += [*self.world.leftovers(), *self.world.collect_garbage()]
        wrong += self._left_aside() if self.files else []
        self.world.forget()
        return wrong

    def _left_aside(self) -> list[str]:
        """What was frozen may leave a folder aside, until the next load of the same: no file is beside then."""
        for number, load in enumerate((self.base, *self.loads)):
            self._do(replace(load, version=20 + number, requested=1000 * (20 + number)))
        return [f"{name} is left aside" for name in other_files(self.base.schema)]


def _alike(kinds: Iterable[str]) -> list[list[str]]:
    """The kinds of faults, together where they differ by the way that they are met in: each group is as likely."""
    groups: dict[str, list[str]] = {}
    for kind in kinds:
        what, _, way = kind.rpartition(" ")
        groups.setdefault(what if way in WAYS else kind, []).append(kind)
    return list(groups.values())


def source(world: World, load: Load) -> TaskRequest:
    """The request for a load's rows, from a file that is written for it."""
    (name,) = write(world, load)
    columns = {"n": "integer", "day": "string", "v": "integer"}
    options = {"path": f"data://{name}", "format": "csv", "columns": columns}
    return TaskRequest(
        workflow=load.schema,
        step="rows",
        stage="collect",
        do=[Use(plugin="files", options=options)],
        generation=str(load.version),
        run=RunInfo(id=f"run-{load.requested}", requested=load.requested),
    )


def write(world: World, load: Load) -> list[str]:
    """Write a load's rows, a file for each day; their names."""
    names = []
    for one in load.days:
        lines = "".join(f"{n},{day},{version}\n" for n, day, version in one.source)
        names.append(f"{load.schema}-{load.version}-{day(one.day).name}.csv")
        (world.home / names[-1]).write_text(f"n,day,v\n{lines}", encoding="ascii")
    return names


def _kill_child(schedule: Schedule, child: int) -> bool:
    if schedule.world.is_stage(child):
        return _kill_stage(schedule, child)
    os.kill(child, signal.SIGKILL)
    return True


def _kill_stage(schedule: Schedule, child: int) -> bool:
    replica = schedule.world.replica(child)
    replica.stop(signal.SIGKILL)
    replica.launch()  # the other replica goes on meanwhile
    return True


def _freeze(schedule: Schedule, child: int) -> bool:
    """Stop the replica past its lease; half of the times until another has done all that there was to do."""
    replica = schedule.world.replica(child)
    if replica.process is None:
        return False
    os.kill(child, signal.SIGSTOP)
    os.kill(replica.process.pid, signal.SIGSTOP)
    time.sleep(LEASE * schedule.dice.choice((1.1, 2.5)))
    for pid in schedule.dice.sample((child, replica.process.pid), 2):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return True


def _crash_postgres(schedule: Schedule, _: int) -> bool:
    schedule.world.server.crash()
    schedule.world.server.start()
    return True


def _cut(way: str) -> Fault:
    """Every connection of a way is reset."""

    def fault(schedule: Schedule, _: int) -> bool:
        return sum(proxy.cut() for proxy in schedule.world.proxies[way]) > 0

    return fault


def _halve(way: str) -> Fault:
    """Of what goes by a way next, half comes through, and then nothing."""

    def fault(schedule: Schedule, child: int) -> bool:
        proxies, times = schedule.world.proxies[way], schedule.dice.choice((1, 3))
        before = _met(proxies)
        for proxy in proxies:
            proxy.halve(times)
        _continue(child)
        time.sleep(HALVED)
        for proxy in proxies:
            proxy.halve(0)
        return _met(proxies) > before

    return fault


def _silence(way: str) -> Fault:
    """Nothing goes by a way, nor comes, for a while: half a lease, or longer than one."""

    def fault(schedule: Schedule, child: int) -> bool:
        proxies = schedule.world.proxies[way]
        before = _met(proxies)
        for proxy in proxies:
            proxy.hold()
        _continue(child)
        time.sleep(LEASE * schedule.dice.choice((0.5, 1.5)))
        for proxy in proxies:
            proxy.go_on()
        return _met(proxies) > before

    return fault


def _met(proxies: Iterable[Proxy]) -> int:
    return sum(proxy.met for proxy in proxies)


def _continue(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGCONT)


def _cancel(schedule: Schedule, _: int) -> bool:
    cancelled = []
    for request in schedule.keys[-2:]:
        with contextlib.suppress(NotFoundError):  # it is about to be asked for
            cancel = methodcaller("cancel", task_key(request))
            cancelled.append(schedule.world.ask(request.stage, cancel).state is State.CANCELLED)
    return any(cancelled)


def _ask_twice(schedule: Schedule, _: int) -> bool:
    """Ask for everything again; whether anything of it was still under way."""
    asked = [schedule.world.submit(request) for request in schedule.keys]
    return any(not status.state.ended for status in asked)


def _full(schedule: Schedule, child: int) -> bool:
    """The store's disk is full for a while."""
    if schedule.world.disk is None:
        return False
    with schedule.world.full_disk():
        _continue(child)
        time.sleep(0.3)
    return True


def _busy(schedule: Schedule, _: int) -> bool:
    """The bucket's server answers 503 for a while, and cuts what is under way."""
    cut = 0
    for proxy in schedule.world.proxies["bucket"]:
        proxy.answer(*[BUSY] * schedule.dice.choice((1, 4, 12)))
        cut += proxy.cut()
    return cut > 0


FAULTS: dict[str, Fault] = {
    "kill child": _kill_child, "kill stage": _kill_stage, "freeze": _freeze, "crash postgres": _crash_postgres,
    "cancel": _cancel, "ask twice": _ask_twice, "full": _full, "busy": _busy,
    **{f"cut {way}": _cut(way) for way in WAYS}, **{f"halve {way}": _halve(way) for way in WAYS},
    **{f"silence {way}": _silence(way) for way in WAYS},
}  # fmt: skip
