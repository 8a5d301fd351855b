"""Datasets: immutable Arrow tables in bounded batches, visible by their task's manifest, checked at every read."""

from __future__ import annotations

import contextlib
import mimetypes
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import blake3
import pyarrow as pa

from ropewalk.contracts.errors import DataError, FatalError, NotFoundError, RetryableError
from ropewalk.contracts.models import Artifact, Column, DatasetRef, Report
from ropewalk.kernel.failpoints import failpoint
from ropewalk.kernel.fingerprint import Fingerprint, Sums, sums
from ropewalk.kernel.manifests import MANIFEST, Entry, Manifest, ManifestStore, Part, folder

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS, BATCH_BYTES = 65_536, 16 * 1024 * 1024
HASHED = 4 * 1024 * 1024  # bytes that are hashed at once, which takes some twelve times as many
HASHERS, AHEAD = 2, 3  # threads that hash, and batches that may wait for them
ASIDE = 1024 * 1024  # bytes of a batch that is worth a thread
ADDERS = 8  # artifacts that are on their way at once: each waits for a disk, or for a bucket
PART_BYTES = 256 * 1024 * 1024


class DatasetStore(ManifestStore):
    """The datasets of an installation."""

    @property
    def compression(self) -> str | None:
        """How parts are compressed: where the way to the store is slower than LZ4."""
        return None if self.objects.mapped else "lz4"

    def dataset(self, ref: DatasetRef) -> Dataset:
        """The dataset that a reference names; its content must be the one that the reference states."""
        key, _, output = ref.id.partition("/")
        manifest = self.known(key)
        if manifest is None or output not in manifest.outputs:
            return self._remote(ref)
        entry = manifest.outputs[output]
        if (entry.fingerprint, entry.rows) != (ref.fingerprint, ref.rows):
            raise FatalError(
                f"dataset {ref.id} is not the one that was asked for", code="dataset_changed"
            )
        return Dataset(ref, entry.columns, self._files(key, entry.parts))

    def draft(self, key: str, attempt: int = 1) -> Draft:
        """The outputs of a task that is about to run."""
        return Draft(self, key, attempt)

    def _files(self, key: str, parts: Iterable[Part]) -> list[Path]:
        return [self._checked(f"{folder(key)}/{part.name}", part) for part in parts]

    def _checked(self, name: str, part: Part) -> Path:
        path = self.objects.local(name, self.scratch)
        if path.stat().st_size != part.bytes or file_digest(path) != part.digest:
            raise RetryableError(
                f"{name} is damaged: its bytes are not those that were written", code="damaged"
            )
        return path

    def _remote(self, ref: DatasetRef) -> Dataset:
        if ref.flight is None or ref.flight == self.flight:
            raise NotFoundError(
                f"the dataset store has no dataset {ref.id}", code="dataset_missing"
            )
        from ropewalk.kernel.flight import fetch

        return fetch(ref, self.scratch, self.tls)


class Dataset:
    """An opened dataset: files that have been checked, mapped into memory and not copied."""

    def __init__(self, ref: DatasetRef, columns: list[Column], files: list[Path]) -> None:
        self.ref = ref
        self.columns = columns
        self.files = files

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.ref.rows

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema."""
        return self._opened[0].schema

    @cached_property
    def _opened(self) -> list[pa.ipc.RecordBatchFileReader]:
        return [pa.ipc.open_file(pa.memory_map(str(path))) for path in self.files]

    def table(self) -> pa.Table:
        """The whole as a table whose buffers are the mapped files: it costs no memory of its own."""
        table = pa.concat_tables([file.read_all() for file in self._opened])
        if table.num_rows != self.rows:
            raise FatalError(
                f"dataset {self.ref.id} has {table.num_rows} rows, not {self.rows}",
                code="row_count",
            )
        return table

    def reader(self) -> pa.RecordBatchReader:
        """The rows as a stream of batches; an error where they are not as many as they must be."""
        opened = self._opened

        def batches() -> Iterator[pa.RecordBatch]:
            seen = 0
            for file in opened:
                for index in range(file.num_record_batches):
                    batch = file.get_batch(index)
                    seen += batch.num_rows
                    yield batch
            if seen != self.rows:
                raise FatalError(
                    f"dataset {self.ref.id} has {seen} rows, not {self.rows}", code="row_count"
                )

        return pa.RecordBatchReader.from_batches(opened[0].schema, batches())

    def to_pandas(self) -> pd.DataFrame:
        """The whole as a pandas frame, in memory."""
        frame: pd.DataFrame = self.table().to_pandas()
        return frame


class Draft:
    """What a running task has made so far; nothing of it is visible before ``commit``.

    From its beginning on no earlier draft of the task can commit, even one that was about to.
    """

    def __init__(self, store: DatasetStore, key: str, number: int) -> None:
        self.store = store
        self.key = key
        self.attempt = f"{number}-{secrets.token_hex(6)}"
        self.name = f"{folder(key)}/{MANIFEST}"
        self._seat = store.objects.seat(self.name)
        self._sent = False
        self.artifacts: dict[str, Artifact] = {}
        self._writers: dict[str, Writer] = {}
        self._adding: dict[Future[None], Path] = {}
        self._adders = ThreadPoolExecutor(ADDERS, "artifact")

    def writer(self, output: str, schema: pa.Schema) -> Writer:
        """The writer of one output."""
        if output in self._writers:
            raise FatalError(f"output {output!r} is written twice")
        self._writers[output] = Writer(self, output, schema)
        return self._writers[output]

    def add_artifact(self, name: str, data: bytes, media_type: str | None = None) -> None:
        """Add a file, such as a page or a picture; what goes wrong with it is raised by `commit`."""
        kind = media_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        path = self.store.scratch / f"{self.attempt}-{secrets.token_hex(4)}"
        path.write_bytes(data)
        self._adding[self._adders.submit(self._add, name, path)] = path
        digest = blake3.blake3(data).hexdigest()
        self.artifacts[name] = Artifact(bytes=len(data), digest=digest, media_type=kind)

    def _add(self, name: str, path: Path) -> None:
        try:
            self.store.objects.add(f"{folder(self.key)}/{self.attempt}-{name}", path)
        finally:
            path.unlink(missing_ok=True)

    def _end_adding(self) -> None:
        """Return when all artifacts are there; the first error of one is raised, and the rest is not begun."""
        try:
            for added in wait(self._adding, return_when=FIRST_EXCEPTION).done:
                added.result()
        finally:
            self._stop_adding()

    def _stop_adding(self) -> None:
        self._adders.shutdown(cancel_futures=True)
        for added, path in self._adding.items():
            if added.cancelled():
                path.unlink(missing_ok=True)

    def finish(self) -> dict[str, DatasetRef]:
        """Close all outputs: the reference of each, still invisible."""
        return {output: writer.close() for output, writer in self._writers.items()}

    def columns(self) -> dict[str, list[Column]]:
        """The columns of every output."""
        return {output: columns_of(writer.schema) for output, writer in self._writers.items()}

    def commit(self, report: Report, before: Callable[[], None]) -> Manifest:
        """Make everything visible at once; where another attempt was first, its manifest is what counts.

        ``before`` is called last before that, and raises where the attempt has lost its task.
        """
        self._end_adding()
        manifest = Manifest(
            key=self.key,
            attempt=self.attempt,
            outputs={output: writer.entry() for output, writer in self._writers.items()},
            artifacts=self.artifacts,
            report=report,
        )
        before()
        failpoint("manifest.fenced")
        if self._create(manifest.model_dump_json().encode()):
            failpoint("manifest.created")
            return manifest
        first = self.store.manifest(self.key)
        if first is None:
            raise RetryableError(
                f"the manifest of task {self.key[:12]} came and went", code="store"
            )
        self.discard()
        return first

    def _create(self, manifest: bytes) -> bool:
        """Have the manifest visible, unless another's is: whether it is may stay unknown, where the store fails."""
        self._sent = True
        try:
            self._sent = self.store.objects.create(self.name, manifest, self._seat)
        except RetryableError as error:
            # Fenced it is known to be none: to look for it would take the seat from who has it.
            self._sent = error.code != "fenced"
            raise
        return self._sent

    def discard(self) -> None:
        """Remove what was written, unless it is visible, or may be for all that the store can tell."""
        self._stop_adding()
        if not (self._sent and self._visible()):
            for writer in self._writers.values():
                writer.discard()
            for name in self.artifacts:
                self.store.objects.delete(f"{folder(self.key)}/{self.attempt}-{name}")
        self.store.objects.rise(self.name, self._seat)

    def _visible(self) -> bool:
        """Whether the manifest is there, though its creation failed: once the seat is taken anew it comes no more."""
        try:
            self._seat = self.store.objects.seat(self.name)
            found = self.store.manifest(self.key)
        except (RetryableError, OSError) as error:
            return getattr(error, "code", "") != "fenced"
        return found is not None and found.attempt == self.attempt


class Writer:
    """Writes one output in bounded batches, and knows its rows, bytes and fingerprint."""

    def __init__(self, draft: Draft, output: str, schema: pa.Schema) -> None:
        self._draft, self._output = draft, output
        self.schema = plain_schema(schema)
        self._fingerprint = Fingerprint(self.schema)
        self._parts: list[Part] = []
        self._open: _PartFile | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows, self._waiting_bytes = 0, 0
        self._ref: DatasetRef | None = None
        self._rows = 0
        self._hashers = ThreadPoolExecutor(HASHERS)  # beside the writing, on another core
        self._hashing: deque[Future[Sums]] = deque()

    @property
    def rows(self) -> int:
        """How many rows have been written."""
        return self._rows + self._waiting_rows

    def write(self, data: pa.RecordBatch | pa.Table) -> None:
        """Write rows of the declared schema; small batches are joined, large ones cut."""
        plain = pa.table(data) if isinstance(data, pa.RecordBatch) else data
        for batch in plain.cast(self.schema).to_batches(max_chunksize=BATCH_ROWS):
            if batch.num_rows < BATCH_ROWS // 4:
                self._wait(batch)
            else:
                self._flush()
                self._put(batch)

    def close(self) -> DatasetRef:
        """Finish: all bytes are in the store; the reference is what a manifest will make visible."""
        if self._ref is None:
            self._flush()
            self._settle(0)
            self._hashers.shutdown()
            if self._open is not None or not self._parts:
                self._roll()
            self._ref = DatasetRef(
                id=f"{self._draft.key}/{self._output}",
                fingerprint=self._fingerprint.hexdigest(),
                rows=self._fingerprint.rows,
                bytes=sum(part.bytes for part in self._parts),
                flight=self._draft.store.flight,
            )
        return self._ref

    def entry(self) -> Entry:
        """The output as the manifest names it."""
        ref = self.close()
        return Entry(
            columns=columns_of(self.schema),
            rows=ref.rows,
            bytes=ref.bytes,
            fingerprint=ref.fingerprint,
            parts=self._parts,
        )

    def discard(self) -> None:
        """Remove what was written."""
        self._hashers.shutdown(cancel_futures=True)
        if self._open is not None:
            self._open.abandon()
            self._open = None
        for part in self._parts:
            self._draft.store.objects.delete(f"{folder(self._draft.key)}/{part.name}")

    def _settle(self, left: int) -> None:
        """Take in hashed batches until so many are left."""
        while len(self._hashing) > left:
            self._fingerprint.add(self._hashing.popleft().result())

    def _wait(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += batch.nbytes
        if self._waiting_rows >= BATCH_ROWS or self._waiting_bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            joined = pa.Table.from_batches(self._waiting).combine_chunks()
            self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
            for batch in joined.to_batches():
                self._put(batch)

    def _put(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        self._rows += batch.num_rows
        if batch.nbytes < ASIDE:
            self._fingerprint.add(sums(batch))
        else:
            for piece in _pieces(batch):
                self._hashing.append(self._hashers.submit(sums, piece))
                self._settle(AHEAD)
        self._part().write(batch)
        if self._part().bytes >= PART_BYTES:
            self._roll()

    def _part(self) -> _PartFile:
        if self._open is None:
            path = self._draft.store.scratch / f"{self._draft.attempt}-{secrets.token_hex(4)}.arrow"
            self._open = _PartFile(path, self.schema, self._draft.store.compression)
        return self._open

    def _roll(self) -> None:
        part = self._part()
        part.close()
        failpoint("part.written")
        name = f"{self._draft.attempt}-{self._output}-{len(self._parts)}.arrow"
        self._draft.store.objects.add(f"{folder(self._draft.key)}/{name}", part.path)
        self._parts.append(Part(name=name, rows=part.rows, bytes=part.bytes, digest=part.digest()))
        failpoint("part.added")
        self._open = None


class _PartFile:
    """An Arrow IPC file that is digested while it is written."""

    def __init__(self, path: Path, schema: pa.Schema, compression: str | None) -> None:
        self.path = path
        self.rows = 0
        self._file = path.open("wb")
        self._hash = blake3.blake3()
        self.bytes = 0
        options = pa.ipc.IpcWriteOptions(compression=compression)
        self._writer = pa.ipc.new_file(pa.PythonFile(self, mode="w"), schema, options=options)

    closed = False

    def write(self, data: Any) -> Any:
        """Write a batch (from above) or bytes (from Arrow's writer below)."""
        if isinstance(data, pa.RecordBatch):
            self.rows += data.num_rows
            self._writer.write_batch(data)
            return None
        self._hash.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Arrow asks for it; the file is flushed once, at its close."""

    def close(self) -> None:
        """End the file."""
        self._writer.close()
        self._file.close()

    def digest(self) -> str:
        """The digest of all bytes written."""
        return str(self._hash.hexdigest())

    def abandon(self) -> None:
        """Remove the unfinished file."""
        with contextlib.suppress(OSError, pa.ArrowException):
            self._file.close()
        self.path.unlink(missing_ok=True)


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in pieces of bounded bytes."""
    rows = max(1, batch.num_rows * HASHED // max(HASHED, batch.nbytes))
    yield from (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


def file_digest(path: Path) -> str:
    """The BLAKE3 digest of a file's bytes."""
    digest = blake3.blake3()
    digest.update_mmap(path)
    return str(digest.hexdigest())


def columns_of(schema: pa.Schema) -> list[Column]:
    """The columns of a schema, as the contract names them."""
    return [
        Column(name=field.name, type=str(field.type), nullable=field.nullable) for field in schema
    ]


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """A schema that datasets may have: dictionaries and views decoded, column names unique, metadata dropped."""
    names = schema.names
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DataError(
            f"two columns are named {doubled[0]!r}", code="duplicate_column", field=doubled[0]
        )
    return pa.schema([pa.field(field.name, _plain_type(field)) for field in schema])


def _plain_type(field: pa.Field) -> pa.DataType:
    kind = field.type
    if isinstance(kind, pa.DictionaryType):
        return _plain_type(field.with_type(kind.value_type))
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if isinstance(kind, pa.ExtensionType):
        return _plain_type(field.with_type(kind.storage_type))
    if pa.types.is_union(kind) or pa.types.is_run_end_encoded(kind) or pa.types.is_interval(kind):
        raise DataError(
            f"column {field.name!r} has the type {kind}, which a dataset cannot hold",
            code="unsupported_type",
            field=field.name,
            hint="cast it to a plain type first",
        )
    return kind
