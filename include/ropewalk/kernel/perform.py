"""Doing one task: from its request to its committed report, in whatever process."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ropewalk.contracts.errors import FatalError, RetryableError, RopewalkError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import Report, TaskRequest
from ropewalk.kernel.batch import Batch, only
from ropewalk.kernel.datasets import DatasetStore
from ropewalk.kernel.failpoints import failpoint
from ropewalk.kernel.settings import Settings
from ropewalk.kernel.stage import Stage
from ropewalk.kernel.task import Task, located

WINDOW = ("since", "until", "previous")  # what a task with a cursor reads, and after whom
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SPILLED = "failed to offload data block"
FULL_SAID = ("No space left on device", SPILLED)


def perform(
    stage: Stage, request: TaskRequest, *, store: DatasetStore, settings: Settings, **told: Any
) -> Report:
    """Do a task and commit it; a task that has been committed before is answered with that report.

    ``told`` are the parts of `Task` that connect it with its service: since, until, previous, attempt, tell, show
    and fence.
    """
    known = store.known(task_key(request))
    if known is not None:
        return _adopted(known.report, told)
    failpoint("task.begun")
    stage.accept(request)
    with scratch_folder(settings.scratch_dir) as scratch:
        task = _task(request, store, settings, scratch, told)
        try:
            if isinstance(task, Batch):
                with stage.for_batch(task) as run:
                    task.each(run, explained)
            else:
                stage.run(task)
            return task.commit()
        except BaseException as error:
            task.draft.discard()
            raise explained(error, request) from error


def _task(
    request: TaskRequest,
    store: DatasetStore,
    settings: Settings,
    scratch: Path,
    told: dict[str, Any],
) -> Task:
    key = task_key(request)
    if len(request.batch) > 1:
        return Batch(request, store, settings, scratch, key=key, **told)
    if request.batch:
        request = only(request, store)
    return Task(request, store, settings, scratch, key=key, **told)


def _adopted(report: Report, told: dict[str, Any]) -> Report:
    """The report of an attempt that committed and could not say so; FatalError where another task has read on since."""
    moved = any(getattr(report, name) != told.get(name) for name in WINDOW)
    if report.watermark is not None and moved:
        raise FatalError(
            f"an attempt that was given up has read on from {report.since!r}, and another task since",
            code="overlap",
            hint="clear the task: it then reads on from where the other ended",
        )
    return report


def open_store(settings: Settings) -> DatasetStore:
    """The dataset store that the settings name."""
    return DatasetStore.open(settings)


def explained(error: BaseException, request: TaskRequest) -> BaseException:
    """The error as one of the tree: what the machine lacks may pass, what is unforeseen is not tried again."""
    if isinstance(error, RopewalkError):
        return located(error, request, "do/0")
    if disk_is_full(error):
        return located(
            RetryableError(
                f"a disk of the stage is full: {_first_line(error)}",
                code="disk_full",
                hint=f"{_room(error)}; nothing is half-written",
            ),
            request,
            "do/0",
        )
    if isinstance(error, MemoryError) or type(error).__name__ in {
        "ArrowMemoryError",
        "OutOfMemoryException",
    }:
        detail = f"the task needs more memory than its limit: {error}"
        return located(
            FatalError(detail, code="memory", hint="raise ROPEWALK_MEMORY_LIMIT"), request, "do/0"
        )
    if isinstance(error, OSError):
        return located(
            RetryableError(f"{type(error).__name__}: {error}", code="os"), request, "do/0"
        )
    if isinstance(error, Exception):
        return located(
            FatalError(f"{type(error).__name__}: {error}", code="unexpected"), request, "do/0"
        )
    return error


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder for one task, removed with all that is in it; its place must be there: a dead replica's is swept."""
    parent.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="task-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def disk_is_full(error: BaseException) -> bool:
    """Whether a disk is full: DuckDB says so in its own words, when it spills."""
    if isinstance(error, OSError):
        return error.errno in FULL
    native = type(error).__module__.partition(".")[0] in {"_duckdb", "duckdb", "pyarrow"}
    return native and any(said in str(error) for said in FULL_SAID)


def _room(error: BaseException) -> str:
    """How room is made: of a query that spills, DuckDB has counted what it may."""
    if SPILLED in str(error):
        return "make room where ROPEWALK_SCRATCH_DIR is, or raise ROPEWALK_MAX_SPILL"
    return "make room where ROPEWALK_STORE_URL or ROPEWALK_SCRATCH_DIR is"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
