"""Publishes the inputs of a `sinks.files` step: files are made aside, and then take the place of their forebears.

A folder's files are named by what they cover (its *scope*: a partition, or who appends), so that a task
which is done again writes the same names. ``_ropewalk/<scope>.json`` says which files those are, and of
which request: it is written last. A step that dies before that is done again, to the same end.

Whatever an attempt changes is a rename out of its own folder aside, or into it. A later one begins by removing the
folders aside of its scope: what was stopped there, however close to its end, changes nothing when it wakes up.
(A bucket knows no rename: there that holds for what is put, and not for what is taken away.)
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import FileSelector, FileType
from pydantic import BaseModel, ValidationError

from ropewalk.contracts.errors import ConfigError, RetryableError, nearest
from ropewalk.contracts.models import Published
from ropewalk.kernel.failpoints import failpoint
from ropewalk.kernel.roots import Root, locate

if TYPE_CHECKING:
    from ropewalk.kernel.datasets import Dataset
    from ropewalk.kernel.task import Task
    from ropewalk.store.sinks.files import Options

RECORDS = "_ropewalk"
EVERYTHING = "all"
FILE_ROWS = 8_000_000
OPEN_FILES = 64
TRIES = 5  # at a folder that others write to at the same time
ENDINGS = {"parquet": "parquet", "csv": "csv", "arrow": "arrow"}


class Record(BaseModel):
    """What a scope's files are, of which content, and by which request."""

    content: str
    requested: int
    run: str
    files: list[str]


@dataclass(frozen=True)
class Folder:
    """The folder of one input, and the part of it that a task is responsible for."""

    root: Root
    path: str
    scope: str

    def at(self, *parts: str) -> str:
        """A path in the file system."""
        return self.root.path("/".join((self.path, *parts)))

    @property
    def record_path(self) -> str:
        """Where it is written which files the scope has."""
        return self.at(RECORDS, f"{self.scope}.json")

    def record(self, scope: str | None = None) -> Record | None:
        """What a scope has now."""
        path = self.at(RECORDS, f"{scope or self.scope}.json")
        if self.root.filesystem.get_file_info(path).type != FileType.File:
            return None
        with self.root.filesystem.open_input_stream(path) as stream:
            try:
                return Record.model_validate_json(stream.readall())
            except ValidationError:
                return None  # cut by a crash: what it named is written anew

    def overtaken(self, made: Record) -> bool:
        """Whether a later request has written the scope, or all of the folder.

        RetryableError where one has begun to, and has not ended: until it is done again both may be seen.
        """
        records = [self.record(), self.record(EVERYTHING)]
        later = [one for one in records if one is not None and one.requested > made.requested]
        if cut := next((one for one in later if not one.content), None):
            raise RetryableError(
                f"run {cut.run}, requested later, is writing it, or was cut off while it was",
                code="contended",
                hint="run that one again if it has failed",
            )
        return bool(later)

    def found(self) -> dict[str, Record]:
        """The records of what a load of the scope takes the place of, by their scopes."""
        scopes = self.scopes() if self.scope == EVERYTHING else [self.scope]
        return {scope: record for scope in scopes if (record := self.record(scope)) is not None}

    def scopes(self) -> list[str]:
        """Every scope that has files."""
        selector = FileSelector(self.at(RECORDS), allow_not_found=True)
        names = (PurePosixPath(i.path).name for i in self.root.filesystem.get_file_info(selector))
        return [name.removesuffix(".json") for name in names if name.endswith(".json")]


def publish(options: Options, task: Task) -> None:
    """Write every input; the earlier files of a partition are there until the new ones take their place."""
    if options.mode == "replace_partition" and task.request.partition is None:
        raise ConfigError(
            "mode replace_partition needs a workflow with partitions",
            code="no_partition",
            hint="mode: replace",
        )
    root, path = locate(options.path.rstrip("/"))
    for step in task.inputs:
        folder = Folder(root, f"{path}/{step}", _scope(options, task))
        uri = f"{root.name}://{folder.path}"
        with _told(uri):
            what = _write(folder, step, options, task)
        _report(task, options, step, uri, what)


def _scope(options: Options, task: Task) -> str:
    request = task.request
    partition = request.partition.name if request.partition else None
    scope = {
        "replace": EVERYTHING,
        "replace_partition": partition or EVERYTHING,
        "append": f"{request.workflow}.{request.step}.{partition or request.run.id}",
    }[options.mode]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", scope)


def _write(folder: Folder, step: str, options: Options, task: Task) -> str:
    """Bring one input into its folder: ``applied``, ``unchanged``, or ``superseded``."""
    for _ in range(TRIES):
        with contextlib.suppress(_ChangedError):
            return _try(folder, step, options, task)
    raise RetryableError("other loads write the same folder at the same time", code="contended")


class _ChangedError(Exception):
    """Another load has written the folder between the look at it and the moment from which none can."""


def _try(folder: Folder, step: str, options: Options, task: Task) -> str:
    request, dataset = task.request, task.input(step)
    content = f"{dataset.ref.fingerprint} {options.format} {options.mode} {options.by}"
    made = Record(content=content, requested=request.run.requested, run=request.run.id, files=[])
    if folder.overtaken(made):
        return "superseded"
    found = folder.found()
    before = found.get(folder.scope)
    same = before is not None and before.content == content and options.mode != "replace"
    aside = f".{folder.scope}.{secrets.token_hex(8)}"
    try:
        folder.root.filesystem.create_dir(folder.at(aside), recursive=True)
        names = {} if same else _make(folder, aside, dataset, options)
        failpoint("files.made")
        files = before.files if same and before is not None else sorted(names.values())
        made = made.model_copy(update={"files": files})
        done = _swap(folder, aside, made, names, found, task)
    finally:
        _remove_folder(folder, aside)
    return "superseded" if not done else "unchanged" if same else "applied"


def _make(folder: Folder, aside: str, dataset: Dataset, options: Options) -> dict[str, str]:
    """Write the files aside; the name that each will have, by its name there.

    What was written counts, and not what is found there: another load may have removed it since.
    """
    filesystem, ending = folder.root.filesystem, ENDINGS[options.format]
    reader, written = dataset.reader(), list[str]()
    ds.write_dataset(
        reader,
        folder.at(aside),
        filesystem=filesystem,
        format="ipc" if options.format == "arrow" else options.format,
        partitioning=_partitioning(reader.schema, options.by),
        basename_template=f"{folder.scope}-{{i}}.{ending}",
        max_rows_per_file=FILE_ROWS,
        max_rows_per_group=FILE_ROWS // 8,
        max_open_files=OPEN_FILES,
        existing_data_behavior="overwrite_or_ignore",
        use_threads=False,  # the rows stay in their order
        file_visitor=lambda file: written.append(file.path),
    )
    start = PurePosixPath(folder.at(aside))
    return {path: PurePosixPath(path).relative_to(start).as_posix() for path in written}


def _partitioning(schema: pa.Schema, by: list[str]) -> ds.Partitioning | None:
    for name in by:
        if name not in schema.names:
            raise ConfigError(
                f"the data has no column {name!r}",
                code="unknown_column",
                hint=nearest(name, schema.names),
                field="by",
            )
    return (
        ds.partitioning(pa.schema([schema.field(name) for name in by]), flavor="hive")
        if by
        else None
    )


def _swap(
    folder: Folder,
    aside: str,
    made: Record,
    names: dict[str, str],
    found: dict[str, Record],
    task: Task,
) -> bool:
    """Put the new files where they belong, and take away those that are no more; False where a later request was first.

    While that goes on the record names the files of both, and no content: what is cut off is done again whole. Where
    the records are no longer those that were ``found``, nothing is done: `_ChangedError`.
    """
    old = {scope: one for scope, one in found.items() if one.requested <= made.requested}
    gone = {name for record in old.values() for name in record.files} - set(made.files)
    both = made.model_copy(update={"content": "", "files": sorted({*gone, *made.files})})
    begun, ended = _draft(folder, aside, "begun", both), _draft(folder, aside, "ended", made)
    task.fence()
    failpoint("files.fenced")
    _evict(folder, aside)
    failpoint("files.alone")
    if folder.overtaken(made):
        return False
    if folder.found() != found:
        raise _ChangedError
    filesystem = folder.root.filesystem
    if names or gone:
        filesystem.move(begun, folder.record_path)
    for source, name in names.items():
        filesystem.create_dir(str(PurePosixPath(folder.at(name)).parent), recursive=True)
        filesystem.move(source, folder.at(name))
        failpoint("files.moved")
    others = {f"{RECORDS}/{scope}.json" for scope in old.keys() - {folder.scope}}
    for number, name in enumerate(sorted(gone | others)):
        _take_away(folder, name, folder.at(aside, f"{number}.gone"))
    failpoint("files.taken")
    filesystem.move(ended, folder.record_path)
    failpoint("files.recorded")
    return True


def _draft(folder: Folder, aside: str, name: str, record: Record) -> str:
    """A record, aside: whole before it takes its place."""
    folder.root.filesystem.create_dir(folder.at(RECORDS), recursive=True)
    path = folder.at(aside, f"{name}.json")
    with folder.root.filesystem.open_output_stream(path) as stream:
        stream.write(json.dumps(record.model_dump()).encode())
    return path


def _evict(folder: Folder, mine: str) -> None:
    """Remove the folders aside of others who write the scope, or who write all: none of them can move a file more."""
    scope = ".+" if folder.scope == EVERYTHING else f"({re.escape(folder.scope)}|{EVERYTHING})"
    fits = re.compile(rf"\.{scope}\.[0-9a-f]{{16}}")
    for info in folder.root.filesystem.get_file_info(FileSelector(folder.at())):
        name = PurePosixPath(info.path).name
        if name != mine and fits.fullmatch(name):
            _remove_folder(folder, name)


def _take_away(folder: Folder, name: str, aside: str) -> None:
    filesystem = folder.root.filesystem
    if filesystem.get_file_info(folder.at(name)).type != FileType.File:
        return
    if folder.root.local is None:
        filesystem.delete_file(folder.at(name))
    else:
        filesystem.move(folder.at(name), aside)


def _remove_folder(folder: Folder, name: str) -> None:
    filesystem = folder.root.filesystem
    if filesystem.get_file_info(folder.at(name)).type == FileType.Directory:
        filesystem.delete_dir_contents(folder.at(name), missing_dir_ok=True)
        with contextlib.suppress(FileNotFoundError):
            filesystem.delete_dir(folder.at(name))


def _report(task: Task, options: Options, step: str, uri: str, what: str) -> None:
    rows = task.input(step).rows
    partition = task.request.partition.name if task.request.partition else None
    task.writes(uri)
    task.published(
        Published(
            step=step,
            target=uri,
            mode=options.mode,
            rows=rows,
            partition=partition,
            replayed=what == "unchanged",
            superseded=what == "superseded",
        )
    )
    told: dict[str, Any] = {
        "applied": f"{rows:,} rows",
        "unchanged": "holds these rows already",
        "superseded": "left as it is: a later request has written it",
    }
    task.info(f"{uri}: {told[what]}")


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Tells what the file system says in one sentence; what was there before is still there."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(
            f"{uri}: this format cannot hold the data: {error}", code="format"
        ) from error
    except OSError as error:
        raise RetryableError(
            f"{uri} cannot be written: {error.strerror or error}",
            code="sink_away",
            hint="make room, or let the stage write there; what was there before is untouched",
        ) from error
