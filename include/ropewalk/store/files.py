"""Publishes the inputs of a `sinks.files` step: files are made aside, and then take the place of their forebears.

A folder's files are named by what they cover (its *scope*: a partition, or who appends), so that a task
which is done again writes the same names. ``_ropewalk/<scope>.json`` says which files those are, and of
which request: it is written last. A step that dies before that is done again, to the same end.
"""

from __future__ import annotations

import json
import re
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
from ropewalk.kernel.roots import Root, locate

if TYPE_CHECKING:
    from ropewalk.kernel.datasets import Dataset
    from ropewalk.kernel.task import Task
    from ropewalk.store.sinks.files import Options

RECORDS = "_ropewalk"
EVERYTHING = "all"
FILE_ROWS = 8_000_000
OPEN_FILES = 64
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
    request, dataset = task.request, task.input(step)
    content = f"{dataset.ref.fingerprint} {options.format} {options.mode} {options.by}"
    before = folder.record()
    made = Record(content=content, requested=request.run.requested, run=request.run.id, files=[])
    if before is not None and before.requested > made.requested:
        return "superseded"
    if before is not None and before.content == content and options.mode != "replace":
        _keep(folder, made.model_copy(update={"files": before.files}), task)
        return "unchanged"
    aside = f".{task.key[:16]}"
    try:
        names = _make(folder, aside, dataset, options)
        _swap(
            folder,
            made.model_copy(update={"files": sorted(names.values())}),
            names,
            options,
            task,
        )
    finally:
        folder.root.filesystem.delete_dir_contents(folder.at(aside), missing_dir_ok=True)
        _remove_folder(folder, aside)
    return "applied"


def _make(folder: Folder, aside: str, dataset: Dataset, options: Options) -> dict[str, str]:
    """Write the files aside; the name that each will have, by its name there."""
    filesystem, ending = folder.root.filesystem, ENDINGS[options.format]
    filesystem.create_dir(folder.at(aside), recursive=True)
    filesystem.delete_dir_contents(folder.at(aside))  # of an attempt that was killed
    reader = dataset.reader()
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
    )
    selector = FileSelector(folder.at(aside), recursive=True)
    start = PurePosixPath(folder.at(aside))
    found = (i.path for i in filesystem.get_file_info(selector) if i.type == FileType.File)
    return {path: PurePosixPath(path).relative_to(start).as_posix() for path in found}


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
    folder: Folder, made: Record, names: dict[str, str], options: Options, task: Task
) -> None:
    """Put the new files where they belong, then take away those that are no more, then write it down."""
    filesystem = folder.root.filesystem
    scopes = folder.scopes() if options.mode == "replace" else [folder.scope]
    old = {scope: record for scope in scopes if (record := folder.record(scope)) is not None}
    task.fence()
    for source, name in names.items():
        target = folder.at(name)
        filesystem.create_dir(str(PurePosixPath(target).parent), recursive=True)
        filesystem.move(source, target)
    for name in {name for record in old.values() for name in record.files} - set(made.files):
        if filesystem.get_file_info(folder.at(name)).type == FileType.File:
            filesystem.delete_file(folder.at(name))
    for scope in old.keys() - {folder.scope}:
        filesystem.delete_file(folder.at(RECORDS, f"{scope}.json"))
    _keep(folder, made, task)


def _keep(folder: Folder, record: Record, task: Task) -> None:
    """Write down what the scope has: whole, or not at all."""
    filesystem = folder.root.filesystem
    filesystem.create_dir(folder.at(RECORDS), recursive=True)
    draft = folder.at(RECORDS, f".{task.key[:16]}")
    with filesystem.open_output_stream(draft) as stream:
        stream.write(json.dumps(record.model_dump()).encode())
    filesystem.move(draft, folder.record_path)


def _remove_folder(folder: Folder, name: str) -> None:
    if folder.root.filesystem.get_file_info(folder.at(name)).type == FileType.Directory:
        folder.root.filesystem.delete_dir(folder.at(name))


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
