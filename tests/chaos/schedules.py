"""Random schedules: loads at once and out of order, and faults of every kind at every point, all drawn from a seed."""

from __future__ import annotations

import contextlib
import itertools
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
from operator import methodcaller
from pathlib import Path

import psycopg
from ropewalk.contracts.accounts import accounts
from ropewalk.contracts.errors import RopewalkError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import Report, RunInfo, TaskRequest, Use

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

Fault = Callable[["Schedule", int], None]
"""What is done to the world when a process has reached a point."""

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
STAGES = {"collect": 2, "store": 2}
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
    looks: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in another's."""
        self.schedules += other.schedules
        self.faults += other.faults
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


def run_all(seeds: list[int], until: float, *, bucket: bool) -> Tally:
    """Do schedules in a world of their own, until so late."""
    with tempfile.TemporaryDirectory(prefix="ropewalk-chaos-") as home:
        Path(home).chmod(0o711)
        with world(Path(home), bucket=bucket, stages=STAGES) as made:
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
        orders = dice.sample(range(2, 12), 3)
        self.places = world.places(apart=apart)
        self.base = Load(
            schema, mode, 1, 1, 1, apart=apart, sink="files" if self.files else "postgres"
        )
        self.loads = [
            replace(
                self.base,
                day=dice.choice((1, 1, 2)),
                version=version,
                requested=requested,
                rows=dice.choice((40, 2000)),
            )
            for version, requested in enumerate(orders, 2)
        ]
        kinds = [kind for kind in FAULTS if world.can(kind, files=self.files)]
        places = FILE_POINTS if self.files else POINTS_APART if apart else TABLE_POINTS
        points = (*POINTS, *places, SOMEWHERE)
        self.plan = [(dice.choice(points), dice.choice(kinds)) for _ in range(3)]
        self.keys: list[TaskRequest] = []

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
        return [*reader.wrong[:3], *self._wrong(runs)]

    def _reader(self) -> AbstractContextManager[Reader]:
        """Looks all the while; but of several files, and of a bucket's, one changes after the other: nobody looks."""
        if not self.files:
            return Reader(self.places, self.base.schema, self._allowed())
        reader = FileReader({}, self.base.schema, self._allowed())
        apart = self.base.mode == "replace" or self.world.in_bucket
        return contextlib.nullcontext(reader) if apart else reader

    def _allowed(self) -> set[Sums]:
        """The tables after any of the loads, whichever have been done."""
        return {
            sums(expected([self.base, *some]))
            for number in range(len(self.loads) + 1)
            for some in itertools.combinations(self.loads, number)
        }

    def _do(self, load: Load) -> dict[str, Report]:
        """Have the source's rows collected, and loaded: the reports by step."""
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
        with contextlib.suppress(
            ProcessLookupError
        ):  # it went by itself meanwhile: there was no fault
            FAULTS[kind](self, child)
            self.tally.faults[kind, point] += 1
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
            manifest = self.world.datasets.manifest(task_key(request))
            if manifest is None:
                wrong.append(f"there is no manifest of {request.step}")
        wrong += [*self.world.leftovers(), *self.world.collect_garbage()]
        wrong += self._left_aside() if self.files else []
        self.world.forget()
        return wrong

    def _left_aside(self) -> list[str]:
        """What was frozen may leave a folder aside, until the next load of the same: no file is beside then."""
        for number, load in enumerate((self.base, *self.loads)):
            self._do(replace(load, version=20 + number, requested=20 + number))
        return [f"{name} is left aside" for name in other_files(self.base.schema)]


def source(world: World, load: Load) -> TaskRequest:
    """The request for a load's rows, from a file that is written for it."""
    name = f"{load.schema}-{load.version}.csv"
    lines = "".join(f"{n},{day},{version}\n" for n, day, version in load.source)
    (world.home / name).write_text(f"n,day,v\n{lines}", encoding="ascii")
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


def _kill_child(schedule: Schedule, child: int) -> None:
    if schedule.world.is_stage(child):
        _kill_stage(schedule, child)
    else:
        os.kill(child, signal.SIGKILL)


def _kill_stage(schedule: Schedule, child: int) -> None:
    replica = schedule.world.replica(child)
    replica.stop(signal.SIGKILL)
    replica.launch()  # the other replica goes on meanwhile


def _freeze(schedule: Schedule, child: int) -> None:
    """Stop the replica past its lease; half of the times until another has done all that there was to do."""
    replica = schedule.world.replica(child)
    if replica.process is None:
        return
    os.kill(child, signal.SIGSTOP)
    os.kill(replica.process.pid, signal.SIGSTOP)
    time.sleep(LEASE * schedule.dice.choice((1.1, 2.5)))
    for pid in schedule.dice.sample((child, replica.process.pid), 2):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _crash_postgres(schedule: Schedule, _: int) -> None:
    schedule.world.server.crash()
    schedule.world.server.start()


def _cut(way: str) -> Fault:
    """Every connection of a way is reset."""

    def fault(schedule: Schedule, _: int) -> None:
        for proxy in schedule.world.proxies[way]:
            proxy.cut()

    return fault


def _halve(way: str) -> Fault:
    """Of what goes by a way next, half comes through, and then nothing."""

    def fault(schedule: Schedule, child: int) -> None:
        times = schedule.dice.choice((1, 3))
        for proxy in schedule.world.proxies[way]:
            proxy.halve(times)
        _continue(child)
        time.sleep(HALVED)
        for proxy in schedule.world.proxies[way]:
            proxy.halve(0)

    return fault


def _silence(way: str) -> Fault:
    """Nothing goes by a way, nor comes, for a while: half a lease, or longer than one."""

    def fault(schedule: Schedule, child: int) -> None:
        for proxy in schedule.world.proxies[way]:
            proxy.hold()
        _continue(child)
        time.sleep(LEASE * schedule.dice.choice((0.5, 1.5)))
        for proxy in schedule.world.proxies[way]:
            proxy.go_on()

    return fault


def _continue(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGCONT)


def _cancel(schedule: Schedule, _: int) -> None:
    for request in schedule.keys[-2:]:
        schedule.world.ask("store", methodcaller("cancel", task_key(request)))


def _ask_twice(schedule: Schedule, _: int) -> None:
    for request in schedule.keys:
        schedule.world.submit(request)


def _full(schedule: Schedule, child: int) -> None:
    """The store's disk is full for a while."""
    with schedule.world.full_disk():
        _continue(child)
        time.sleep(0.3)


def _busy(schedule: Schedule, _: int) -> None:
    """The bucket's server answers 503 for a while, and cuts what is under way."""
    for proxy in schedule.world.proxies["bucket"]:
        proxy.answer(*[BUSY] * schedule.dice.choice((1, 4, 12)))
        proxy.cut()


FAULTS: dict[str, Fault] = {
    "kill child": _kill_child, "kill stage": _kill_stage, "freeze": _freeze, "crash postgres": _crash_postgres,
    "cancel": _cancel, "ask twice": _ask_twice, "full": _full, "busy": _busy,
    **{f"cut {way}": _cut(way) for way in WAYS}, **{f"halve {way}": _halve(way) for way in WAYS},
    **{f"silence {way}": _silence(way) for way in WAYS},
}  # fmt: skip
