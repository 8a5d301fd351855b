"""Removes what nobody uses any more: half-written files, datasets past their retention, old rows of the ledger.

A dataset past its retention gets a tombstone first. Whoever uses it from then on (`ManifestStore.keep`) answers the
tombstone by a verdict, an object that only one can create: the user ("kept") or, after a grace, the collector ("gone").
So no dataset is used and removed at once. Each stage collects what its own tasks have made, one replica at a time.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import structlog
from psycopg.rows import dict_row

from ropewalk.contracts.errors import FatalError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import Garbage, TaskRequest
from ropewalk.kernel.batch import PARTITIONS, Parts
from ropewalk.kernel.datasets import DatasetStore
from ropewalk.kernel.manifests import GONE, MANIFEST, TOMBSTONE, VERDICT, Manifest, folder
from ropewalk.kernel.perform import scratch_folder
from ropewalk.kernel.reads import READS
from ropewalk.kernel.settings import Settings
from ropewalk.kernel.stage import Stage, load

log = structlog.get_logger()
DAY = 86_400.0
UNKNOWN = 28  # times the grace: how old files must be whose task is not in the stage's ledger
OWN = {MANIFEST, TOMBSTONE, VERDICT}
LIVE = {"queued", "running"}
IN_USE = """
(state IN ('queued', 'running') OR greatest(ended_at, (SELECT max(at) FROM asked WHERE asked.key = task.key))
    > clock_timestamp() - make_interval(secs =>
        greatest(%(grace)s, coalesce((request ->> 'retention')::float, %(retention)s))))
"""  # within the grace whatever the retention: who has asked for a task must be able to read its end
USED = f"SELECT key, previous, request, report FROM task WHERE {IN_USE}"  # noqa: S608 - our own
HEADS = """
SELECT DISTINCT ON (workflow, step) key FROM task
WHERE read_at IS NOT NULL AND read ->> 'until' IS NULL
ORDER BY workflow, step, read_at DESC
"""  # what the next task of a step with a cursor reads on from
UNSAID = """
SELECT key, request FROM task WHERE state IN ('failed', 'cancelled')
    AND (key = ANY(%s) OR jsonb_array_length(request -> 'batch') > 1)
"""  # tasks that may have done something outside and ended before their manifest said of what
OLD = f"""
state IN ('succeeded', 'failed', 'cancelled') AND NOT {IN_USE} AND key <> ALL(%(held)s)
AND read_at IS NULL
"""  # what a task with a cursor has read is known for ever: its run, cleared, must read that again and nothing else
Ages = dict[str, float]


def collect_garbage(path: str, settings: Settings, url: str, *, dry_run: bool) -> bytes:
    """One collection for the stage at ``path``; the `Garbage` as JSON."""
    stage = load(path)
    with (
        scratch_folder(
            settings.scratch_dir
        ) as scratch,  # where a batch's index comes to from a bucket
        psycopg.connect(
            url,
            autocommit=True,
            options=f"-c search_path={stage.name}",
            application_name="ropewalk:garbage",
            row_factory=dict_row,
        ) as connection,
    ):
        store = DatasetStore.open(settings.model_copy(update={"scratch_dir": scratch}))
        done = Collector(stage, settings, store, connection, dry_run=dry_run).collect()
        return done.model_dump_json().encode()


class Collector:
    """One collection."""

    def __init__(
        self,
        stage: Stage,
        settings: Settings,
        store: DatasetStore,
        connection: psycopg.Connection[dict[str, Any]],
        *,
        dry_run: bool = False,
    ) -> None:
        self.stage, self.settings, self.store = stage, settings, store
        self.connection, self.dry_run = connection, dry_run
        self.counts = dict.fromkeys(("marked", "removed", "files", "tasks"), 0)
        self.retention = settings.retention_days * DAY
        self.limits = {"retention": self.retention, "grace": settings.grace_seconds}
        self.held: set[str] = set()

    def collect(self) -> Garbage:
        """Collect, unless another does."""
        with self._alone() as alone:
            if alone:
                folders = self._folders()  # first: what is made from here on is not looked at
                with self._answering(folders):
                    self.held = self._held()
                for key, ages in folders.items():
                    self._folder(key, ages)
                self._old_reads()
                self._old_rows()
        return Garbage(busy=not alone, **self.counts)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        query = "SELECT pg_try_advisory_lock(hashtextextended(%s, 4)) AS got"
        row = self.connection.execute(query, [f"garbage of {self.stage.name}"]).fetchone()
        yield bool(row and row["got"])

    def _folders(self) -> dict[str, Ages]:
        """The names in each task's folder, with their ages."""
        found: defaultdict[str, Ages] = defaultdict(dict)
        for path, age in self.store.objects.ages("tasks"):
            _, _, key, name = path.split("/", 3)
            found[key][name] = age
        return found

    @contextmanager
    def _answering(self, folders: Mapping[str, Ages]) -> Iterator[None]:
        """While it cannot be told what is in use, everything may be: other stages must not end it meanwhile."""
        try:
            yield
        except Exception:
            for key, ages in () if self.dry_run else folders.items():
                if TOMBSTONE in ages:
                    self.store.keep(key)
            raise

    def _held(self) -> set[str]:
        """The keys of tasks whose outputs a live task, one within its retention, or the outside names."""
        held = {row["key"] for row in self.connection.execute(HEADS)}
        batches: set[str] = set()
        for row in self.connection.execute(USED, self.limits):
            held |= {row["key"], row["previous"] or row["key"], *_named(row["request"])}
            batches |= _batches(row["request"])
            if PARTITIONS in (row["report"] or {}).get("outputs", {}):
                batches.add(row["key"])
        return held.union(self._held_outside(), *map(self._partitions, sorted(batches)))

    def _partitions(self, key: str) -> set[str]:
        """The keys of a batch's partitions, while it has any."""
        manifest = self.store.manifest(key)
        ref = manifest.report.outputs.get(PARTITIONS) if manifest else None
        if ref is None or self.store.gone(key):
            return set()
        return set(self.store.dataset(ref).table()["key"].to_pylist())

    def _held_outside(self) -> set[str]:
        """The keys of tasks whose data is in use outside, and of those that it was made of."""
        held = set(self._outside())
        unsaid: set[str] = set()
        for key in sorted(held):
            manifest = self.store.manifest(key)
            if manifest is None:
                unsaid.add(key)
            else:
                held |= {ref.partition("/")[0] for ref in manifest.report.inputs.values()}
        return held | self._named_by(unsaid)

    def _named_by(self, unsaid: set[str]) -> set[str]:
        """What the requests of tasks name that have done something outside, and have no manifest."""
        found: set[str] = set()
        for row in self.connection.execute(UNSAID, [sorted(unsaid)]) if unsaid else ():
            if row["key"] in unsaid:
                found |= _named(row["request"])
            for part in self._parts(TaskRequest.model_validate(row["request"])):
                if task_key(part) in unsaid:
                    found |= {row["key"], *_named(row["request"])}
                    found |= {ref.id.partition("/")[0] for ref in part.inputs.values()}
        return found

    def _parts(self, request: TaskRequest) -> Iterator[TaskRequest]:
        """The requests of a batch's partitions, as far as it is known what they read."""
        if len(request.batch) <= 1 or not all(map(self._is_here, _batches(request.model_dump()))):
            return
        with suppress(FatalError):  # the batch has ended at it too, and begun nothing after it
            parts = Parts(request, self.store)
            for one in request.batch:
                yield parts.of(one)

    def _is_here(self, key: str) -> bool:
        return self.store.manifest(key) is not None and not self.store.gone(key)

    def _outside(self) -> Iterable[str]:
        if self.stage.names is None:
            return ()
        module, _, name = self.stage.names.partition(":")
        found: Iterable[str] = getattr(importlib.import_module(module), name)()
        return found

    def _folder(self, key: str, ages: Ages) -> None:
        if VERDICT in ages and self.store.gone(key):
            self._bury(key, ages)
            return
        if key in self.held and TOMBSTONE in ages and not self.dry_run:
            self.store.keep(key)
        manifest = self.store.manifest(key) if MANIFEST in ages else None
        if manifest is None:
            self._half_written(key, ages)
        elif manifest.report.stage == self.stage.name:
            self._strays(manifest, ages)
            self._expire(manifest, ages)

    def _expire(self, manifest: Manifest, ages: Ages) -> None:
        """Mark a dataset past its retention; remove it when it was marked long ago and nobody has answered."""
        key, kept = manifest.key, manifest.report.retention
        if key in self.held:
            return
        used = min(ages[MANIFEST], ages.get(VERDICT, ages[MANIFEST]))
        if used < (self.retention if kept is None else kept):
            return
        if TOMBSTONE not in ages or VERDICT in ages:
            self._mark(key)
        elif ages[TOMBSTONE] >= self.settings.grace_seconds:
            self._end(key, ages)

    def _mark(self, key: str) -> None:
        self.counts["marked"] += 1
        self._delete(key, (TOMBSTONE, VERDICT))
        if not self.dry_run:
            self.store.objects.create(f"{folder(key)}/{TOMBSTONE}", b"old")

    def _end(self, key: str, ages: Ages) -> None:
        if self.dry_run or self.store.objects.create(f"{folder(key)}/{VERDICT}", GONE):
            self._bury(key, ages)

    def _bury(self, key: str, ages: Ages) -> None:
        """Remove everything: the manifest first, and last the verdict, until which nobody makes it anew."""
        self.counts["removed"] += 1
        self._delete(key, (MANIFEST, *sorted(ages.keys() - OWN), TOMBSTONE, VERDICT))

    def _half_written(self, key: str, ages: Ages) -> None:
        """Remove what an attempt has left that is no more: once its seat is taken it can commit no longer."""
        state = self._state(key)
        limit = self.settings.grace_seconds * (UNKNOWN if state is None else 1)
        if state in LIVE or min(ages.values()) < limit:
            return
        rest = [name for name in ages if name not in OWN and not name.startswith(".")]
        if self.dry_run:
            self.counts["files"] += len(rest)
            return
        name = f"{folder(key)}/{MANIFEST}"
        seat = self.store.objects.seat(name)
        if self.store.manifest(key) is None:
            self.counts["files"] += len(rest)
            self._delete(key, (*rest, TOMBSTONE, VERDICT))
        self.store.objects.rise(name, seat)

    def _strays(self, manifest: Manifest, ages: Ages) -> None:
        """Remove what other attempts at a task have left beside the one that committed."""
        named = {part.name for entry in manifest.outputs.values() for part in entry.parts}
        named |= {f"{manifest.attempt}-{name}" for name in manifest.artifacts}
        rest = ages.keys() - named - OWN
        old = sorted(name for name in rest if ages[name] >= self.settings.grace_seconds)
        if old and self._state(manifest.key) not in LIVE:
            self.counts["files"] += len(old)
            self._delete(manifest.key, old)

    def _state(self, key: str) -> str | None:
        query = "SELECT state FROM task WHERE key = %s"
        row = self.connection.execute(query, [key]).fetchone()
        return row["state"] if row else None

    def _delete(self, key: str, names: Iterable[str]) -> None:
        for name in () if self.dry_run else names:
            self.store.objects.delete(f"{folder(key)}/{name}")

    def _old_reads(self) -> None:
        """Forget which reads were asked for anew where all that was read is gone."""
        found: defaultdict[str, Ages] = defaultdict(dict)
        for path, age in self.store.objects.ages(READS):
            found[path.split("/")[2]][path] = age
        for first, ages in found.items():
            keys = {first, *(path.rpartition("-")[2] for path in ages)}
            if min(ages.values()) < self.retention or any(map(self.store.manifest, sorted(keys))):
                continue
            for path in () if self.dry_run else ages:
                self.store.objects.delete(path)

    def _old_rows(self) -> None:
        """Forget tasks that nobody has asked for since."""
        values: dict[str, Any] = {**self.limits, "held": sorted(self.held)}
        with self.connection.transaction():
            query = f"SELECT key FROM task WHERE {OLD} FOR UPDATE SKIP LOCKED"  # noqa: S608 - our own
            keys = [row["key"] for row in self.connection.execute(query, values)]
            if (
                not self.dry_run
            ):  # judged again: a row may have been asked for just before it was locked
                query = f"DELETE FROM task WHERE key = ANY(%(keys)s) AND {OLD}"  # noqa: S608
                self.connection.execute(query, {**values, "keys": keys})
        self.counts["tasks"] += len(keys)


def _batches(request: Mapping[str, Any]) -> set[str]:
    """The keys of those that are batches; of the steps before a batch all may be."""
    names = [ref["id"].partition("/") for ref in request.get("inputs", {}).values()]
    inputs = {key for key, _, output in names if output == PARTITIONS}
    before = request.get("upstream", {}) if len(request.get("batch", ())) > 1 else {}
    return inputs | set(before.values())


def _named(request: Mapping[str, Any]) -> set[str]:
    """The keys of tasks that a request names."""
    inputs = {ref["id"].partition("/")[0] for ref in request.get("inputs", {}).values()}
    return inputs | set(request.get("upstream", {}).values())
