"""What the dataset store holds: one manifest per task, which makes all that the task made visible at once.

A task's outputs lie in one folder, ``tasks/ab/<key>/``: parts ``<attempt>-<output>-<n>.arrow``, files such as
pages, and ``manifest.json``, which is created last and atomically and names the rest. Of two attempts the first to
create the manifest is the one that counts. This module needs no Arrow: a service reads manifests, its children data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import blake3
from pydantic import BaseModel, ConfigDict

from ropewalk.contracts.errors import NotFoundError, RetryableError
from ropewalk.contracts.models import Artifact, Column, Report
from ropewalk.kernel.objects import Objects, open_objects
from ropewalk.kernel.settings import Settings
from ropewalk.kernel.tls import Tls

MANIFEST = "manifest.json"
TOMBSTONE, VERDICT = "tombstone", "verdict"
KEPT, GONE = b"kept", b"gone"


class Part(BaseModel):
    """One file of a dataset, and what its bytes must be."""

    model_config = ConfigDict(frozen=True)
    name: str
    rows: int
    bytes: int
    digest: str


class Entry(BaseModel):
    """One output of a task, as its manifest names it."""

    model_config = ConfigDict(frozen=True)
    columns: list[Column]
    rows: int
    bytes: int
    fingerprint: str
    parts: list[Part]


class Manifest(BaseModel):
    """All that a task made; created last and once."""

    model_config = ConfigDict(frozen=True)
    format: int = 1
    key: str
    attempt: str
    outputs: dict[str, Entry]
    artifacts: dict[str, Artifact]
    report: Report


class ManifestStore:
    """The store as a service needs it: manifests and files, no data."""

    def __init__(
        self, objects: Objects, *, scratch: Path, flight: str | None = None, tls: Tls | None = None
    ) -> None:
        self.objects = objects
        self.scratch = scratch
        self.flight = flight
        self.tls = tls or Tls()
        scratch.mkdir(exist_ok=True)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The store that a stage's settings name."""
        objects = open_objects(settings.store_url, endpoint=settings.s3_endpoint)
        return cls(
            objects,
            scratch=settings.scratch_dir,
            flight=settings.flight_url,
            tls=Tls.of(settings),
        )

    def manifest(self, key: str) -> Manifest | None:
        """What the task with that key made, or None where it has not committed."""
        try:
            return Manifest.model_validate_json(self.objects.read(f"{folder(key)}/{MANIFEST}"))
        except NotFoundError:
            return None

    def keep(self, key: str) -> bool:
        """Whether a task's outputs can be used from now on; the tombstone of old ones is answered.

        What has no tombstone now is kept for the collector's grace at least.
        """
        place = folder(key)
        if self.objects.exists(f"{place}/{TOMBSTONE}"):
            self.objects.create(f"{place}/{VERDICT}", KEPT)
        return not self.gone(key) and self.objects.exists(f"{place}/{MANIFEST}")

    def gone(self, key: str) -> bool:
        """Whether the collector has begun to remove a task's outputs."""
        try:
            return self.objects.read(f"{folder(key)}/{VERDICT}") == GONE
        except NotFoundError:
            return False

    def known(self, key: str) -> Manifest | None:
        """What the task has made, to be used again; RetryableError while the collector removes it."""
        found = self.manifest(key)
        if found is None and not self.gone(key):
            return None
        if found is not None and self.keep(key):
            return found
        raise RetryableError(
            f"what task {key[:12]} has made is being removed", code="collected", retry_after=5
        )

    def artifact(self, key: str, name: str) -> tuple[bytes, Artifact]:
        """A file that a task made, and what it is; its bytes are checked."""
        manifest = self.manifest(key)
        if manifest is None or name not in manifest.artifacts:
            raise NotFoundError(f"there is no file {name!r} of task {key[:12]}")
        known = manifest.artifacts[name]
        data = self.objects.read(f"{folder(key)}/{manifest.attempt}-{name}")
        if blake3.blake3(data).hexdigest() != known.digest:
            raise RetryableError(f"file {name!r} of task {key[:12]} is damaged", code="damaged")
        return data, known

    def committed(self) -> Iterator[str]:
        """The key of every task that has committed."""
        for name in self.objects.names("tasks"):
            if name.endswith(f"/{MANIFEST}"):
                yield name.split("/")[2]


def folder(key: str) -> str:
    """Where a task's outputs lie."""
    return f"tasks/{key[:2]}/{key}"
