"""The process that does one task: forked from the stage's fork server, and gone when the task ends.

Files and servers are untrusted, and some broken bytes make native readers crash: so they are parsed
here, never in the service. What the child says goes up a pipe as one JSON object per line; what the
service answers (may the task commit?) comes down another.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import resource
import signal
import sys
from multiprocessing import forkserver, parent_process
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

from ropewalk.contracts.errors import FatalError, RetryableError, RopewalkError
from ropewalk.contracts.models import Progress, TaskRequest
from ropewalk.kernel.failpoints import failpoint
from ropewalk.kernel.settings import Settings

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
DUMPABLE = 4  # PR_SET_DUMPABLE


def do_task(
    path: str, settings: Settings, body: str, told: dict[str, Any], up: Connection, down: Connection
) -> None:
    """Do one task of the stage at ``path``, and say on ``up`` how it went: the child's whole life."""
    bind_to_parent()
    hide_memory()
    limit_memory(settings.memory_limit)
    output: Connection = told.pop("output")
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    faulthandler.enable()
    talk = Talk(up, down)
    try:
        report = _perform(path, settings, body, told, talk)
        failpoint("task.done")
        talk.say("report", report)
    except RopewalkError as error:
        talk.say("error", error.problem().model_dump(mode="json"))
    except BaseException as error:  # noqa: BLE001 - the last frame of the process
        talk.say("error", _last_words(error).problem().model_dump(mode="json"))
    talk.say("memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


class Talk:
    """The child's end of both pipes."""

    def __init__(self, up: Connection, down: Connection) -> None:
        self._up, self._down = up, down
        self._saying, self._asking = Lock(), Lock()  # a batch commits beside its work

    def say(self, what: str, value: Any) -> None:
        """Send one message."""
        line = json.dumps([what, value]).encode() + b"\n"
        with self._saying:
            while line:
                line = line[os.write(self._up.fileno(), line) :]

    def tell(self, level: str, text: str) -> None:
        """Send a line for the task's log."""
        self.say("log", [level, text])

    def show(self, progress: Progress) -> None:
        """Send how far the work is."""
        self.say("progress", progress.model_dump(mode="json"))

    def at(self, what: str) -> None:
        """Send what is read from now on: a native library that crashes on it says nothing."""
        self.say("at", what)

    def fence(self) -> None:
        """Ask whether the task is still this attempt's; RetryableError where it is not."""
        with self._asking:
            self.say("fence", None)
            held = self._down.recv_bytes() == b"yes"
        if not held:
            raise RetryableError(
                "another attempt has taken this task over, or it was cancelled", code="fenced"
            )


def bind_to_parent() -> None:
    """Lead a process group of one's own, and die with the fork server, which dies with the service.

    The fork server lives as long as anyone holds the other end of its pipe; `multiprocessing` gives each
    child one, so that a child would keep it alive after the service was killed. So it is closed.
    """
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]  # noqa: SLF001
    os.setsid()
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    service = parent_process()
    if service is None or not service.is_alive():  # it died before this: then nothing tells of it
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def hide_memory() -> None:
    """No other process of the same user reads this one's memory or environment, and no core dump holds them."""
    ctypes.CDLL(None).prctl(DUMPABLE, 0, 0, 0, 0)


def limit_memory(limit: int) -> None:
    """A ceiling on private memory: twice the limit, since much of it is reserved and never touched.

    The service watches the resident memory itself (see `runner`).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    ceiling = 2 * limit + 1024**3
    if hard == resource.RLIM_INFINITY or ceiling < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling, hard))


def _perform(
    path: str, settings: Settings, body: str, told: dict[str, Any], talk: Talk
) -> dict[str, Any]:
    from ropewalk.kernel.perform import open_store, perform
    from ropewalk.kernel.stage import load

    report = perform(
        load(path),
        TaskRequest.model_validate_json(body),
        store=open_store(settings),
        settings=settings,
        tell=talk.tell,
        show=talk.show,
        at=talk.at,
        fence=talk.fence,
        **told,
    )
    return report.model_dump(mode="json")


def _last_words(error: BaseException) -> RopewalkError:
    """What is said of an error that nobody foresaw; its traceback goes to the task's log."""
    import traceback

    with contextlib.suppress(OSError):
        traceback.print_exception(error, file=sys.stderr)
        sys.stderr.flush()
    if isinstance(error, MemoryError):
        return FatalError("the task needs more memory than its limit", code="memory")
    return FatalError(f"{type(error).__name__}: {error}", code="unexpected")
