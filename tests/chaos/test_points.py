"""Every named crash point by every way to die by every mode: the tables are those of a clean pass."""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from operator import methodcaller
from typing import Any

import psycopg
import pytest
from ropewalk.contracts.keys import task_key

from tests.chaos.loads import (
    FILE_MODES,
    MODES,
    FileReader,
    Load,
    Reader,
    expected,
    other_files,
    read,
    read_files,
    sums,
    unbalanced,
)
from tests.chaos.schedules import FILE_POINTS, POINTS_APART, TABLE_POINTS
from tests.chaos.schedules import POINTS as TASK_POINTS
from tests.chaos.world import PATIENCE, ROOT, World, gone, world

# Reached in the child that loads; the order is that of the load.
MANIFEST_POINTS = ("manifest.fenced", "manifest.written", "manifest.created", "task.done")
POINTS = ("task.begun", *TABLE_POINTS, *MANIFEST_POINTS)
BETWEEN = ("sink.prepared", "sink.fenced", "sink.decided")  # two databases
BEFORE = tuple(point for point in POINTS_APART if point not in BETWEEN)
SERVICE_POINTS = ("submit.asked", "submit.entered", "task.claimed", "task.ending")
DATASET_POINTS = ("part.written", "part.added")  # of what collects: in test_schedules.py
# A bucket's manifest is written by one request.
BUCKET_MANIFEST_POINTS = tuple(point for point in MANIFEST_POINTS if point != "manifest.written")
BUCKET_POINTS = (
    "task.begun",
    "sink.copying",
    "sink.fenced",
    "sink.committed",
    *BUCKET_MANIFEST_POINTS,
)
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with two replicas of the store stage."""
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


def run(chaos: World, mode: str, point: str, how: str, **more: Any) -> None:
    """Load a second version of a day over the first and die once at a point: all must be as if nothing had been."""
    schema = "_".join((mode, point, how, *more)).replace(".", "_")
    base = [Load(schema, mode, 1, 1, 1, **more), Load(schema, mode, 2, 1, 2, **more)]
    last = Load(schema, mode, 1, 2, 3, **more)
    places = chaos.places(apart=last.apart)
    files = last.sink == "files"
    os.environ.update(chaos.env)  # what is published is read here as there
    chaos.arm("")
    for load in base:
        chaos.drive(load.request(chaos.dataset(load.source)))
    allowed = {sums(expected(base)), sums(expected([*base, last]))}
    request = last.request(chaos.dataset(last.source))
    looks = Reader(places, schema, allowed) if not files else FileReader({}, schema, allowed)
    # Of several files one takes its place after the other; of a bucket's, one is read by several requests.
    mixed = files and (mode == "replace" or chaos.in_bucket)
    with nullcontext(looks) if mixed else looks as reader:
        chaos.arm(f"{point}:{'stop' if how == 'freeze' else how}")
        if how == "freeze":
            freeze(chaos, request)
        report = chaos.drive(request)
    assert chaos.hit(0.1) is not None, f"nothing has reached {point}"
    assert reader.wrong == []
    assert reader.seen > 0 or mixed
    found = read_files(schema) if files else read(places, schema)
    assert set(found) == {expected([*base, last])}
    assert files or unbalanced(places, schema) == []
    if (
        files and how != "freeze"
    ):  # what wakes up and is ended leaves its folder aside to the next load
        assert other_files(schema) == []
    assert chaos.drive(request) == report, "the report of a task that is done does not change"
    manifest = chaos.datasets.manifest(task_key(request))
    assert manifest is not None
    assert manifest.report == report
    come_to_rest(chaos)


def come_to_rest(chaos: World) -> None:
    """Nothing is in doubt and no session of a load is there; that of one just killed goes in a moment."""
    deadline = time.monotonic() + PATIENCE
    while left := chaos.leftovers():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def spread(points: Sequence[str], modes: Sequence[str]) -> list[tuple[str, str]]:
    """Every point once, and every mode at least once where there are as many points."""
    return list(zip(points, itertools.cycle(modes)))


def restart(chaos: World) -> None:
    """Start the replicas again that have been killed."""
    for service in chaos.all_services():
        if service.process is not None and service.process.poll() is not None:
            service.start()


def freeze(chaos: World, request: object) -> None:
    """Stop the child at the point and its whole replica with it, until another has taken the task over and done it."""
    chaos.submit(request)  # type: ignore[arg-type]
    child = chaos.hit()
    assert child is not None
    replica = chaos.replica(child)
    assert replica.process is not None
    os.kill(replica.process.pid, signal.SIGSTOP)
    try:
        chaos.drive(request)  # type: ignore[arg-type]
    finally:
        os.kill(child, signal.SIGCONT)
        os.kill(replica.process.pid, signal.SIGCONT)
    deadline = time.monotonic() + PATIENCE
    while not gone(child):
        assert time.monotonic() < deadline, "the zombie does not end"
        time.sleep(0.01)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("point", POINTS)
def test_a_child_that_is_killed(chaos: World, point: str, mode: str) -> None:
    run(chaos, mode, point, "kill")


@pytest.mark.parametrize(
    ("point", "mode"),
    list(zip(POINTS[1:-1], MODES * 2 + MODES[:2], strict=True)),  # where an error can arise
)
def test_an_error(chaos: World, point: str, mode: str) -> None:
    run(chaos, mode, point, "raise")


@pytest.mark.parametrize(
    ("point", "mode"), list(zip(POINTS * 2, MODES * 3 + (MODES[1:] + MODES[:1]) * 3, strict=True))
)
def test_a_replica_that_freezes_past_its_lease_and_wakes_up(
    chaos: World, point: str, mode: str
) -> None:
    run(chaos, mode, point, "freeze")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("point", SERVICE_POINTS)
def test_a_stage_that_is_killed(chaos: World, point: str, mode: str) -> None:
    run(chaos, mode, point, "kill")
    restart(chaos)


@pytest.mark.parametrize(("point", "mode"), spread(SERVICE_POINTS, FILE_MODES))
def test_a_stage_that_is_killed_while_it_publishes_files(
    chaos: World, point: str, mode: str
) -> None:
    run(chaos, mode, point, "kill", sink="files")
    restart(chaos)


@pytest.mark.parametrize(("point", "mode"), spread(BEFORE, MODES))
def test_a_child_that_is_killed_before_two_databases_are_prepared(
    chaos: World, point: str, mode: str
) -> None:
    run(chaos, mode, point, "kill", apart=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("point", BETWEEN)
def test_a_child_that_is_killed_between_two_databases(chaos: World, point: str, mode: str) -> None:
    """Never is one table new and the other old, once it has been recovered."""
    run(chaos, mode, point, "kill", apart=True)


@pytest.mark.parametrize(("point", "how"), [(p, h) for p in BETWEEN for h in ("raise", "freeze")])
def test_an_error_and_a_freeze_between_two_databases(chaos: World, point: str, how: str) -> None:
    run(chaos, "append", point, how, apart=True)


@pytest.mark.parametrize("mode", FILE_MODES)
@pytest.mark.parametrize("point", [POINTS[0], *FILE_POINTS, *MANIFEST_POINTS])
def test_a_child_that_is_killed_while_it_publishes_files(
    chaos: World, point: str, mode: str
) -> None:
    """Each folder has the files of a clean pass, and nothing else."""
    run(chaos, mode, point, "kill", sink="files")


@pytest.mark.parametrize(
    ("point", "how"), [(p, h) for p in FILE_POINTS for h in ("raise", "freeze")]
)
def test_an_error_and_a_freeze_while_files_are_published(
    chaos: World, point: str, how: str
) -> None:
    run(chaos, "replace_partition", point, how, sink="files")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose datasets and files are in an S3 server."""
    with world(tmp_path_factory.mktemp("bucket"), bucket=True) as made:
        yield made


@pytest.mark.parametrize(
    ("point", "mode"),
    [*spread(FILE_POINTS, FILE_MODES), *spread(BUCKET_MANIFEST_POINTS, FILE_MODES)],
)
def test_a_child_that_is_killed_while_it_publishes_to_a_bucket(
    bucket: World, point: str, mode: str
) -> None:
    run(bucket, mode, point, "kill", sink="files")


@pytest.mark.parametrize(("point", "mode"), spread(BUCKET_POINTS, MODES))
def test_a_child_that_is_killed_while_its_datasets_are_in_a_bucket(
    bucket: World, point: str, mode: str
) -> None:
    run(bucket, mode, point, "kill")


def test_a_stage_that_starts_finishes_what_nobody_asks_for_any_more(chaos: World) -> None:
    """All of its replicas were killed between the commit that decides and the other; the task is cancelled."""
    base, last = (Load("start", "append", 1, version, version, apart=True) for version in (1, 2))
    chaos.arm("")
    chaos.drive(base.request(chaos.dataset(base.source)))
    chaos.arm("sink.decided:stop")
    request = last.request(chaos.dataset(last.source))
    chaos.submit(request)
    assert chaos.hit() is not None
    chaos.ask("store", methodcaller("cancel", task_key(request)))
    for service in chaos.all_services():
        service.stop(signal.SIGKILL)
    chaos.heal()
    deadline = time.monotonic() + PATIENCE
    while chaos.leftovers():
        assert time.monotonic() < deadline, "it stays in doubt"
        time.sleep(0.05)
    assert set(read(chaos.places(apart=True), "start")) == {expected([base, last])}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "harm",
    [  # a row of a load that is none; every row twice
        "UPDATE {0}.one SET _ropewalk_load = 999999 WHERE n = (SELECT max(n) FROM {0}.one)",
        "INSERT INTO {0}.one SELECT * FROM {0}.one",
    ],
    ids=["unknown", "doubled"],
)
def test_the_balance_tells_of_rows_that_no_load_explains(
    chaos: World, mode: str, harm: str
) -> None:
    load = Load(f"harm_{mode}_{harm[:6].lower()}", mode, 1, 1, 1)
    chaos.arm("")
    chaos.drive(load.request(chaos.dataset(load.source)))
    places = chaos.places(apart=False)
    assert unbalanced(places, load.schema) == []
    with psycopg.connect(places["one"]) as session:
        if mode == "upsert":
            session.execute(f"DROP INDEX {load.schema}.one_ropewalk_key".encode())
        session.execute(harm.format(load.schema).encode())
    assert unbalanced(places, load.schema)


def test_every_point_of_the_product_is_in_the_lists() -> None:
    """One that is new must be reached here, and by the schedules."""
    named = re.compile(r'(?<!def )failpoint\("([^"]+)"\)')
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "include").rglob("*.py"))
    found = {name for text in sources for name in named.findall(text)}
    assert found == {*POINTS, *BETWEEN, *FILE_POINTS, *SERVICE_POINTS, *DATASET_POINTS}
    assert found == {*TASK_POINTS, *POINTS_APART, *FILE_POINTS}


def test_nothing_is_left_open(chaos: World, bucket: World) -> None:
    """After all that: nor does a file lie in the store that no manifest names, once the collector has come."""
    for made in (chaos, bucket):
        come_to_rest(made)
        assert made.collect_garbage() == []
