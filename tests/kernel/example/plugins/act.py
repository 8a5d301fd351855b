"""Does whatever a test wants to see done to a service."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Literal

import pyarrow as pa
from ropewalk.contracts.errors import FatalError, RetryableError
from ropewalk.contracts.plugins import PluginOptions
from ropewalk.kernel.task import QUARANTINE, Task


class Options(PluginOptions):
    """``mark`` is a file that tells that the work has begun; ``go`` one that lets it go on; ``says`` is said first."""

    what: Literal[
        "rows",
        "fail",
        "fatal",
        "crash",
        "eat",
        "die",
        "wait",
        "print",
        "bug",
        "blab",
        "watermark",
        "lose",
        "window",
        "odd",
        "read",
        "dumpable",
        "tell_fence",
        "nan",
    ] = "rows"
    rows: int = 3
    bad: int = 0
    says: list[str] = []
    mark: str | None = None
    go: str | None = None
    cursor: str | None = None


def act(options: Options, task: Task) -> None:
    """Do it."""
    for text in options.says:
        task.info(text)
    if options.mark:
        with Path(options.mark).open("a") as file:
            file.write(f"{os.getpid()}\n")
    while options.go and not Path(options.go).exists():
        time.sleep(0.01)
    ACTS[options.what](options, task)


def rows(options: Options, task: Task) -> None:
    """Write rows, and set some aside."""
    table = pa.table({"n": pa.array(range(options.rows), pa.int64())})
    task.output(table.schema).write(table)
    task.info(f"wrote {options.rows} rows")
    task.progress(options.rows, of=options.rows)
    if options.bad:
        bad = [{"rule": "bad", "reason": "it is bad", "row": str(n)} for n in range(options.bad)]
        task.quarantine(pa.Table.from_pylist(bad, schema=QUARANTINE))


def fail(_: Options, __: Task) -> None:
    """Fail for now."""
    raise RetryableError("the sea is rough", retry_after=3)


def fatal(_: Options, __: Task) -> None:
    """Fail for good."""
    raise FatalError("the rope is cut", code="cut")


def crash(_: Options, __: Task) -> None:
    """Read a byte that is not there."""
    ctypes.string_at(0)


def eat(_: Options, __: Task) -> None:
    """Take more memory than there may be."""
    eaten = [bytearray(16 << 20)]
    while True:
        eaten.append(bytearray(b"x") * (16 << 20))
        time.sleep(0.02)


def die(_: Options, __: Task) -> None:
    """Be killed by someone else."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait(_: Options, __: Task) -> None:
    """Go on for an hour."""
    time.sleep(3600)


def speak(options: Options, task: Task) -> None:
    """Print."""
    sys.stdout.write("out\n")
    sys.stderr.write("err\na \0 b\n")
    sys.stdout.flush()
    rows(options, task)


def bug(_: Options, __: Task) -> None:
    """Do what nobody foresaw."""
    raise KeyError("surprise")


def blab(_: Options, task: Task) -> None:
    """Tell, in all ways that there are, what nobody should know."""
    secret = os.environ["ROPEWALK_DATABASE_URL"]
    sys.stdout.write(f"{secret}\n")
    sys.stdout.flush()
    task.warning(secret)
    raise ValueError(secret)


def watermark(options: Options, task: Task) -> None:
    """Move the watermark on by as many rows as there are."""
    task.watermark = int(task.since or 0) + options.rows
    rows(options, task)


def dumpable(options: Options, task: Task) -> None:
    """Tell whether others of the same user may read this process's memory (PR_GET_DUMPABLE)."""
    task.metric("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
    rows(options, task)


def nan(options: Options, task: Task) -> None:
    """Tell numbers that are none, one of them past the function that would see it."""
    task.metric("r2", float("nan"))
    task.metrics["most"] = float("inf")
    task.watermark = float("nan")
    rows(options, task)


def lose(options: Options, task: Task) -> None:
    """Read a row more than it accounts for."""
    rows(options, task)
    task.took(options.rows + options.bad + 1)
    task.accounts("filter")


def window(options: Options, task: Task) -> None:
    """Move the watermark on, and say up to where."""
    task.metric("until", task.until)
    watermark(options, task)


def tell_fence(options: Options, task: Task) -> None:
    """Write rows and say nothing of it, so that nobody looks before the fence does; tell what that says."""
    table = pa.table({"n": pa.array(range(options.rows), pa.int64())})
    task.output(table.schema).write(table)
    ask = task.fence

    def told() -> None:
        try:
            ask()
        except RetryableError as error:
            task.info(f"the fence says {error.code}")
            raise

    task.fence = told


def odd(_: Options, __: Task) -> None:
    """Fail with a text that no database keeps."""
    raise FatalError("it has \0 and \udc80 and \\u0000 in it")


def read(_: Options, task: Task) -> None:
    """Write what the inputs have."""
    table = pa.concat_tables([dataset.table() for dataset in task.inputs.values()])
    task.output(table.schema).write(table)


ACTS = {
    "rows": rows, "fail": fail, "fatal": fatal, "crash": crash, "eat": eat, "die": die, "wait": wait,
    "print": speak, "bug": bug, "blab": blab, "watermark": watermark, "lose": lose, "window": window, "odd": odd,
    "read": read, "dumpable": dumpable, "tell_fence": tell_fence, "nan": nan,
}  # fmt: skip
