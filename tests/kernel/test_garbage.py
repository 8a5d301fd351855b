"""The collector: nothing that is used is removed, whoever comes first; nothing that is not is kept."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg.rows import dict_row
from ropewalk.contracts.errors import NotFoundError, RetryableError
from ropewalk.contracts.models import (
    DatasetRef,
    Garbage,
    Partition,
    Report,
    RunInfo,
    Slice,
    TaskRequest,
    Use,
)
from ropewalk.kernel.batch import PARTITIONS
from ropewalk.kernel.datasets import DatasetStore, Draft
from ropewalk.kernel.garbage import Collector
from ropewalk.kernel.manifests import GONE, VERDICT, folder
from ropewalk.kernel.migrations import migrate
from ropewalk.kernel.perform import open_store
from ropewalk.kernel.settings import Settings
from ropewalk.kernel.stage import load
from ropewalk.testing.services import StageService, running

from tests.conftest import Postgres
from tests.kernel.conftest import EXAMPLE, ROOT
from tests.kernel.test_service import until

TABLE = pa.table({"n": pa.array([1, 2, 3], pa.int64())})
NOW = datetime(2013, 1, 1, tzinfo=UTC)
DAY = Slice(partition=Partition(start=NOW, end=NOW + timedelta(days=1), name="2013-01-01"))


@dataclass
class Place:
    """A store and a ledger whose collector waits for nothing."""

    settings: Settings
    store: DatasetStore
    connection: psycopg.Connection[dict[str, Any]]
    keys: Iterator[int] = field(default_factory=itertools.count)

    def collect(self, **more: Any) -> Garbage:
        """One collection."""
        stage = load(f"{EXAMPLE}.stage")
        return Collector(stage, self.settings, self.store, self.connection, **more).collect()

    def be_patient(self) -> None:
        """Have the collector leave alone what is younger than an hour."""
        self.settings = self.settings.model_copy(update={"grace_seconds": 3600})

    def draft(self) -> Draft:
        """What a task has written so far."""
        draft = self.store.draft(f"{next(self.keys):064x}", 1)
        draft.writer("data", TABLE.schema).write(TABLE)
        draft.finish()
        return draft

    def dataset(self, **more: Any) -> DatasetRef:
        """What a task has made."""
        draft = self.draft()
        report = Report(
            key=draft.key, workflow="w", step="s", stage="collect", plugins=[], run="r",
            outputs=draft.finish(), started=NOW, ended=NOW, **more,
        )  # fmt: skip
        return draft.commit(report, before=lambda: None).report.outputs["data"]

    def batch(self, *days: DatasetRef) -> Report:
        """A batch that has these datasets as its partitions'."""
        draft = self.store.draft(f"{next(self.keys):064x}", 1)
        names = [f"2013-01-{number:02}" for number, _ in enumerate(days, 1)]
        index = pa.table({"partition": names, "key": [key_of(day) for day in days]})
        draft.writer(PARTITIONS, index.schema).write(index)
        return draft.commit(_report(draft), before=lambda: None).report

    def row(self, key: str, state: str, request: dict[str, Any] | None = None, **more: Any) -> None:
        """Enter a task in the ledger, as one that ended long ago where it has ended."""
        report, ended = json.dumps(more.get("report")), more.get("ended", NOW)
        read = json.dumps(more["read"]) if "read" in more else None
        self.connection.execute(
            "INSERT INTO task"
            " (key, workflow, step, run_id, requested, request, asker, state, ended_at, report, read, read_at)"
            " VALUES (%s, 'w', 's', 'r', 1, %s, '', %s, %s, %s, %s, %s)",
            [key, json.dumps(request or {}), state, ended, report, read, ended if read else None],
        )

    def names(self, key: str) -> list[str]:
        """What lies in a task's folder."""
        return [name for name, _ in self.store.objects.ages(folder(key))]


@pytest.fixture
def place(postgres: Postgres, tmp_path: Path) -> Iterator[Place]:
    """The collector's place, this test's own."""
    with _place(postgres, tmp_path, (tmp_path / "store").as_uri()) as one:
        yield one


@pytest.fixture(params=["directory", "bucket"])
def anywhere(postgres: Postgres, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place with either kind of store; S3 tells ages in whole seconds."""
    if request.param == "directory":
        made = _place(postgres, tmp_path, (tmp_path / "store").as_uri())
    else:
        made = _place(
            postgres, tmp_path, f"s3://store/{tmp_path.name}",
            s3_endpoint=request.getfixturevalue("s3"), retention_days=-1, grace_seconds=-9,
        )  # fmt: skip
    with made as one:
        yield one


@contextmanager
def _place(postgres: Postgres, home: Path, url: str, **more: Any) -> Iterator[Place]:
    database = postgres.database().stage("collect")
    migrate(database, "collect")
    fields = {"retention_days": 0, "grace_seconds": 0, **more}
    settings = Settings(store_url=url, scratch_dir=home / "scratch", **fields)
    with psycopg.connect(
        database, autocommit=True, options="-c search_path=collect", row_factory=dict_row
    ) as connection:
        yield Place(settings, open_store(settings), connection)


def key_of(ref: DatasetRef) -> str:
    return ref.id.partition("/")[0]


def test_what_nobody_uses_is_marked_then_removed_with_its_row(anywhere: Place) -> None:
    ref = anywhere.dataset()
    anywhere.row(key_of(ref), "succeeded")
    assert anywhere.collect(dry_run=True) == Garbage(marked=1, tasks=1)
    assert anywhere.collect() == Garbage(marked=1, tasks=1)
    assert anywhere.collect(dry_run=True) == Garbage(removed=1)
    assert anywhere.collect() == Garbage(removed=1)
    assert anywhere.names(key_of(ref)) == []
    with pytest.raises(NotFoundError):
        anywhere.store.dataset(ref)
    assert anywhere.collect() == Garbage()


def test_what_is_used_after_it_was_marked_stays(place: Place) -> None:
    ref = place.dataset()
    for _ in range(3):
        assert place.collect() == Garbage(marked=1)  # anew: it was used since the last time
        assert place.store.dataset(ref).table().equals(TABLE)


def test_a_batch_holds_its_partitions(place: Place) -> None:
    day = place.dataset()
    batch = place.batch(day)
    place.row(batch.key, "succeeded", report=batch.model_dump(mode="json"), ended="2999-01-01")
    assert place.collect() == Garbage()
    assert place.store.dataset(day).rows == 3


def test_a_live_task_holds_the_partitions_of_the_batches_that_it_reads(place: Place) -> None:
    """Also of those that it only comes after: it may read their reports."""
    read, told = place.dataset(), place.dataset()
    inputs, upstream = place.batch(read), place.batch(told)
    request = TaskRequest(
        workflow="w", step="s", stage="process", do=[Use(plugin="sql")], run=RunInfo(id="r"),
        inputs={"x": inputs.outputs[PARTITIONS]}, upstream={"y": upstream.key}, batch=[DAY, DAY],
    )  # fmt: skip
    place.row("f" * 64, "running", request.model_dump(mode="json"))
    for _ in range(3):
        assert place.collect() == Garbage()
    assert place.store.dataset(read).rows == place.store.dataset(told).rows == 3
    place.store.objects.create(f"{folder(inputs.key)}/{VERDICT}", GONE)
    assert place.collect() == Garbage(removed=1, marked=1)  # what is gone holds nothing any more


def test_a_live_task_and_a_retention_hold_what_they_name(place: Place) -> None:
    named, inside, outside = place.dataset(), place.dataset(retention=3600), place.dataset()
    request = TaskRequest(
        workflow="w", step="s", stage="process", do=[Use(plugin="sql")], run=RunInfo(id="r"),
        inputs={"x": named}, upstream={"y": key_of(outside)},
    )  # fmt: skip
    place.row("f" * 64, "running", request.model_dump(mode="json"))
    for _ in range(3):
        assert place.collect() == Garbage()
    place.connection.execute("UPDATE task SET state = 'failed', ended_at = 'epoch'")
    assert place.collect() == Garbage(marked=2, tasks=1)
    assert place.collect() == Garbage(removed=2)
    assert place.store.dataset(inside).rows == 3


def test_what_an_attempt_has_left_is_removed_and_it_cannot_commit_any_more(place: Place) -> None:
    dead, live = place.draft(), place.draft()
    place.row(dead.key, "failed", ended=datetime.now(UTC))
    place.row(live.key, "running")
    assert place.collect().files == 1
    assert place.names(dead.key) == []
    with pytest.raises(RetryableError, match="later attempt"):
        dead.commit(_report(dead), before=lambda: None)
    assert live.commit(_report(live), before=lambda: None).key == live.key
    assert place.store.dataset(_report(live).outputs["data"]).rows == 3


def test_what_another_attempt_has_left_beside_a_dataset_is_removed(place: Place) -> None:
    ref = place.dataset(retention=3600)
    path = place.settings.scratch_dir / "stray"
    path.write_bytes(b"x")
    place.store.objects.add(f"{folder(key_of(ref))}/2-aa-data-0.arrow", path)
    assert place.collect() == Garbage(files=1)
    assert place.store.dataset(ref).rows == 3


def test_while_a_task_runs_nothing_beside_its_dataset_is_removed(place: Place) -> None:
    """Of an attempt that has committed and not said so, and of one that is about to find that out."""
    ref = place.dataset(retention=3600)
    late = place.store.draft(key_of(ref), 2)
    late.writer("data", TABLE.schema).write(TABLE)
    late.finish()
    place.row(key_of(ref), "running")
    assert place.collect() == Garbage()
    place.connection.execute("UPDATE task SET state = 'failed', ended_at = 'epoch'")
    assert place.collect().files == 2  # what it has written, and its seat
    assert place.store.dataset(ref).rows == 3


@pytest.mark.parametrize("state", ["failed", None])
def test_what_an_attempt_has_just_written_is_left(place: Place, state: str | None) -> None:
    """Whatever the ledger says of its task: what it knows may be older."""
    place.be_patient()
    draft = place.draft()
    if state is not None:
        place.row(draft.key, state)
    assert place.collect().files == 0
    assert draft.commit(_report(draft), before=lambda: None).key == draft.key


def test_what_has_just_been_written_beside_a_dataset_is_left(place: Place) -> None:
    place.be_patient()
    ref = place.dataset(retention=3600)
    path = place.settings.scratch_dir / "stray"
    path.write_bytes(b"x")
    place.store.objects.add(f"{folder(key_of(ref))}/2-aa-data-0.arrow", path)
    assert place.collect() == Garbage()


def test_what_has_just_been_marked_is_left_to_who_uses_it(place: Place) -> None:
    place.be_patient()
    ref = place.dataset()
    assert place.collect() == Garbage(marked=1)
    assert place.collect() == Garbage()
    assert place.store.dataset(ref).rows == 3


def test_a_task_that_has_just_ended_can_be_read_whatever_its_retention(place: Place) -> None:
    place.be_patient()
    place.row("a" * 64, "succeeded", ended=datetime.now(UTC))
    place.row("b" * 64, "succeeded")
    assert place.collect() == Garbage(tasks=1)


def test_the_task_that_a_step_with_a_cursor_reads_on_from_is_kept(place: Place) -> None:
    ref = place.dataset()
    place.row("a" * 64, "succeeded", read={"watermark": 1}, ended=datetime(2013, 1, 1, tzinfo=UTC))
    place.row("b" * 64, "succeeded", read={"watermark": 2}, ended=datetime(2013, 1, 2, tzinfo=UTC))
    place.row("c" * 64, "failed")
    place.connection.execute("UPDATE task SET key = %s WHERE key = %s", [key_of(ref), "b" * 64])
    assert place.collect() == Garbage(tasks=1)
    assert place.collect() == Garbage()
    assert place.store.dataset(ref).rows == 3
    rows = place.connection.execute("SELECT key FROM task WHERE state = 'succeeded'").fetchall()
    assert len(rows) == 2  # what each of them has read is known when its run is cleared


def test_of_two_collectors_one_works(place: Place, postgres: Postgres) -> None:
    del postgres
    with psycopg.connect(
        place.connection.info.dsn, password=place.connection.info.password
    ) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended('garbage of collect', 4))")
        assert place.collect().busy


def test_user_and_collector_at_once_one_of_them_wins(anywhere: Place) -> None:
    """Whoever is told that a dataset is kept can read it, however the two are interleaved."""
    lost = kept = 0
    for _ in range(60):
        ref = anywhere.dataset()
        anywhere.store.objects.create(f"{folder(key_of(ref))}/tombstone", b"old")
        barrier = threading.Barrier(2)
        told: list[bool] = []

        def use(
            ref: DatasetRef = ref, barrier: threading.Barrier = barrier, told: list[bool] = told
        ) -> None:
            barrier.wait()
            told.append(anywhere.store.keep(key_of(ref)))

        user = threading.Thread(target=use)
        user.start()
        barrier.wait()
        anywhere.collect()
        user.join()
        if told[0]:
            kept += 1
            assert anywhere.store.manifest(key_of(ref)) is not None
            assert anywhere.store.dataset(ref).table().equals(TABLE)
        else:
            lost += 1
            assert anywhere.store.manifest(key_of(ref)) is None
    assert kept + lost == 60


def test_tasks_that_run_beside_the_collector_lose_nothing(
    postgres: Postgres, tmp_path: Path
) -> None:
    """A service that collects all the time, with a grace of some seconds and no retention at all."""
    service = StageService(
        EXAMPLE, postgres.database().stage("collect"), tmp_path,
        {"PYTHONPATH": f"{ROOT}:{ROOT / 'include'}", "ROPEWALK_RETENTION_DAYS": "0",
         "ROPEWALK_COLLECT_SECONDS": "0.1", "ROPEWALK_GRACE_SECONDS": "4"},
        audience="collect",
    )  # fmt: skip

    def ask(what: str, generation: str, **more: Any) -> TaskRequest:
        return TaskRequest(
            workflow="demo", step="act", stage="collect", do=[Use(plugin="act", options={"what": what})],
            run=RunInfo(id="run"), generation=generation, **more,
        )  # fmt: skip

    with running(service):
        begun = time.monotonic()
        for number in itertools.count():
            made = service.do(ask("rows", f"made-{number % 2}")).output
            assert made is not None
            read = service.do(ask("read", f"read-{number}", inputs={"rows": made}))
            assert read.rows.out == 3
            if time.monotonic() - begun > 6:
                break
        store = tmp_path / "store" / "tasks"
        until(lambda: not any(names for _, _, names in os.walk(store)))
        again = service.submit(ask("rows", "made-0"))
        assert service.end(again.key).report is not None


def _report(draft: Draft) -> Report:
    return Report(
        key=draft.key, workflow="w", step="s", stage="collect", plugins=[], run="r",
        outputs=draft.finish(), started=NOW, ended=NOW,
    )  # fmt: skip
