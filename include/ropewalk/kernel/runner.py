"""Runs a replica's tasks: claims them from the ledger, does each in a child process, and renews their leases."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psycopg
import structlog

from ropewalk.contracts.errors import FatalError, Problem, RetryableError, RopewalkError, error_of
from ropewalk.contracts.models import Progress, Report
from ropewalk.kernel.child import do_task
from ropewalk.kernel.failpoints import failpoint
from ropewalk.kernel.hide import hidden, hider
from ropewalk.kernel.ledger import Ledger, Line, Row, why, window_of
from ropewalk.kernel.metrics import BUSY, ENDED, SECONDS
from ropewalk.kernel.settings import Settings

log = structlog.get_logger()
WATCH_SECONDS = 0.2  # between two looks at a child's memory, its log and its progress
MAX_LINE = 8_000  # characters of one log line
MOST_LOST = 5  # attempts of one asking that may be lost without a word
AWAY = (  # a database that is away, or is not yet the one to write to
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    TimeoutError,
)
ANY = (*AWAY, psycopg.Error)


class Runner:
    """One replica's work. ``context`` makes child processes; ``wake`` is set when a task may wait."""

    def __init__(self, path: str, settings: Settings, ledger: Ledger) -> None:
        self.path = path
        self.settings = settings
        self.ledger = ledger
        self.owner = f"{socket.gethostname()}:{settings.port}#{secrets.token_hex(6)}"
        self.wake = asyncio.Event()
        self.context = multiprocessing.get_context("forkserver")
        self._attempts: dict[str, Attempt] = {}

    async def work(self) -> None:
        """Claim and run tasks until cancelled; what an earlier process here left is queued again."""
        await self.insist(self._requeue, through=ANY)
        try:
            while True:
                self.wake.clear()  # before the look: what comes during it is looked for again
                await self.insist(self._fill, through=ANY)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.wake.wait(), self.settings.lease_seconds / 3)
        finally:
            for attempt in list(self._attempts.values()):
                attempt.kill()

    def ended(self, key: str) -> None:
        """A task has ended or was cancelled, here or elsewhere: its child, if it is ours, must not go on."""
        if key in self._attempts:
            self._attempts[key].recheck.set()

    async def _requeue(self) -> None:
        found = await self.ledger.requeue(self.owner)
        if found:
            log.warning("tasks.requeued", tasks=found)

    async def _fill(self) -> None:
        while len(self._attempts) < self.settings.workers:
            row = await self.ledger.claim(self.owner, self.settings.lease_seconds)
            if row is None:
                return
            failpoint("task.claimed")
            attempt = Attempt(self, row)
            self._attempts[attempt.key] = attempt
            task = asyncio.create_task(attempt.run())
            task.add_done_callback(self._gone(attempt))
            if not row["more"]:
                return

    def _gone(self, attempt: Attempt) -> Callable[[asyncio.Task[None]], None]:
        def gone(task: asyncio.Task[None]) -> None:
            if len(self._attempts) >= self.settings.workers or attempt.row["cursor"]:
                self.wake.set()  # another may have waited for this one's place, or for its end
            if self._attempts.get(attempt.key) is attempt:  # it may have been claimed again
                del self._attempts[attempt.key]
            if not task.cancelled() and task.exception():
                log.error("attempt.lost", key=attempt.key, exc_info=task.exception())

        return gone

    async def insist(
        self, step: Callable[[], Any], through: tuple[type[Exception], ...] = AWAY
    ) -> None:
        """Do a step that needs the database; while that is away, wait and try again.

        What the database refuses it refuses each time: that is an error of the step, unless it is ``through`` too.
        """
        while True:
            try:
                await step()
            except through as error:
                log.warning("ledger.away", error=type(error).__name__, said=str(error)[:300])
                await asyncio.sleep(1)
            else:
                return


class Attempt:
    """One attempt at a task: its child process, what that says, and its lease."""

    def __init__(self, runner: Runner, row: Row) -> None:
        self.settings = runner.settings
        self.ledger = runner.ledger
        self.row = row
        self.key: str = row["key"]
        self.number: int = row["attempt"]
        self.recheck = asyncio.Event()
        self._runner = runner
        self._process: Any = None
        self._outcome: Report | RopewalkError | None = None
        self._progress: Progress | None = None
        self._lines: list[Line] = []
        self._unheard: list[asyncio.Task[None]] = []  # asked of a ledger that has not answered
        self._hide = hider(runner.settings)
        self._renewed = time.monotonic()
        self._begun = time.monotonic()
        self._lost = False
        self._at: str | None = None  # what the child reads
        self._memory = 0  # bytes that the child has held at most, as far as is known
        self._scratch = runner.settings.scratch_dir / f"{self.key[:16]}-{self.number}"

    async def run(self) -> None:
        """From the fork to the last word in the ledger."""
        stage = self.settings.stage
        bound = structlog.get_logger().bind(key=self.key[:12], attempt=self.number)
        bound.info("task.started", workflow=self.row["workflow"], step=self.row["step"])
        with BUSY.labels(stage).track_inprogress(), SECONDS.labels(stage).time():
            try:
                if self.row["lost"] > MOST_LOST:
                    self._outcome = _given_up(self.row["lost"])
                else:
                    await self._watch()
            except (OSError, EOFError) as error:
                bound.exception("fork.failed")
                self._outcome = RetryableError(
                    f"the stage cannot start a process for the task ({type(error).__name__})",
                    code="no_process",
                )
            except psycopg.Error as error:
                bound.exception("ledger.refused")
                self._outcome = _refused(error)
            finally:
                self.kill()
                await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)
        outcome = self._word()
        if self._unheard:  # they may hold lines of the log
            await asyncio.wait(self._unheard, timeout=self.settings.lease_seconds / 3)
        try:
            await self._end(outcome)
        except psycopg.Error as error:
            bound.exception("ledger.refused")
            self._outcome, self._progress = _refused(error), None
            outcome = self._word()
            await self._end(outcome)
        state = "failed" if isinstance(outcome, Problem) else "succeeded"
        ENDED.labels(stage, "lost" if self._lost else state).inc()
        bound.info("task.ended", state=state, lost=self._lost, memory=self._memory)

    async def _end(self, outcome: Report | Problem) -> None:
        """Record how the attempt ended, where the task is still its own, and what it said last."""
        if not self._lost:
            failpoint("task.ending")
            lines, self._lines = self._lines, []
            try:
                await self._runner.insist(lambda: self._ended(outcome, lines))
            except psycopg.Error:  # of its lines, or of its word
                self._lines = lines + self._lines
                await self._runner.insist(self._flush)
                await self._runner.insist(lambda: self._ended(outcome, []))
        await self._runner.insist(self._flush)

    async def _ended(self, outcome: Report | Problem, lines: list[Line]) -> None:
        await self.ledger.end(self.key, self.number, outcome, self._progress, lines)

    def kill(self) -> None:
        """End the child and all that it started, at once: nothing of it is visible before it commits."""
        if self._process is not None and self._process.pid and self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.join()

    async def _watch(self) -> None:
        """Fork the child, and hear it until it has gone."""
        loop = asyncio.get_running_loop()
        up, child_up = multiprocessing.Pipe(duplex=False)
        child_down, down = multiprocessing.Pipe(duplex=False)
        output, child_output = multiprocessing.Pipe(duplex=False)
        self._process = self._child(child_up, child_down, child_output)
        await asyncio.to_thread(self._process.start)
        for end in (child_up, child_down, child_output):
            end.close()
        gone = asyncio.Event()
        said = Lines(up, lambda line: self._hear(line, down))
        printed = Lines(output, self._print)
        loop.add_reader(self._process.sentinel, gone.set)
        try:
            await self._attend(gone)
        except BaseException:
            self.kill()  # nobody watches it any more
            raise
        finally:
            loop.remove_reader(self._process.sentinel)
            said.close()
            printed.close()
            down.close()
            await asyncio.to_thread(self._process.join)

    def _child(self, up: Connection, down: Connection, output: Connection) -> Any:
        told = {
            **window_of(self.row),
            "attempt": self.number,
            "output": output,
            "why": why(self.row),
        }
        settings = self.settings.model_copy(update={"scratch_dir": self._scratch})
        self._scratch.mkdir(parents=True, exist_ok=True)
        body = json.dumps(self.row["request"])
        arguments = (self._runner.path, settings, body, told, up, down)
        return self._runner.context.Process(target=do_task, args=arguments, daemon=True)

    async def _attend(self, gone: asyncio.Event) -> None:
        """Until the child is gone: its memory, its deadline, its lease, its log and its progress."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(gone.wait(), WATCH_SECONDS)
            if gone.is_set():
                return  # what it has said last is written with its end
            self._judge()
            try:
                await self._in_time(self._tend())
            except AWAY:
                self._fear()
            if self._lost or isinstance(self._outcome, RopewalkError):
                self.kill()

    async def _tend(self) -> None:
        await self._keep()
        await self._flush()

    async def _in_time(self, work: Coroutine[Any, Any, None]) -> None:
        """Have the ledger do something; TimeoutError after a third of the lease.

        A statement that is cancelled has its connection ask a server that may be silent to cancel it, for ten
        seconds: that goes on without anybody who waits for it, since the child must not.
        """
        task = asyncio.create_task(work)
        try:
            done, _ = await asyncio.wait([task], timeout=self.settings.lease_seconds / 3)
        finally:
            task.cancel()
        if not done:
            self._unheard.append(task)
            raise TimeoutError
        await task

    def _judge(self) -> None:
        """End a child that needs too much memory or time."""
        if self._outcome is not None:
            return
        used, limit = private_memory(self._process.pid), self.settings.memory_limit
        self._memory = max(self._memory, used)
        if used > limit:
            self._outcome = FatalError(
                f"the task used {used >> 20} MiB of memory: its limit is {limit >> 20} MiB",
                code="memory",
                hint="raise ROPEWALK_MEMORY_LIMIT of this stage, or take a smaller partition",
                file=self._at,
            )
        timeout = self.row["request"].get("timeout")
        if timeout and time.monotonic() - self._begun > timeout:
            self._outcome = RetryableError(
                f"the task took longer than its timeout of {timeout:g} s", code="timeout"
            )

    async def _keep(self) -> None:
        """Renew the lease when a third of it has passed, or when the ledger tells of a change."""
        if isinstance(self._outcome, Report):
            return
        due = time.monotonic() - self._renewed > self.settings.lease_seconds / 3
        if not (due or self.recheck.is_set() or self._progress):
            return
        self.recheck.clear()
        progress, self._progress = self._progress, None
        if await self._renew(progress):
            return
        self._lost = True

    async def _renew(self, progress: Progress | None = None) -> bool:
        asked = (
            time.monotonic()
        )  # the lease began later than that: the answer may have been long on its way
        held = await self.ledger.renew(self.key, self.number, self.settings.lease_seconds, progress)
        if held:
            self._renewed = asked
        return held

    def _fear(self) -> None:
        """The ledger is away: give up before another replica may begin."""
        if time.monotonic() - self._renewed > self.settings.lease_seconds * 2 / 3:
            self._lost = True

    def _hear(self, line: bytes, down: Connection) -> None:
        """Take in one message of the child."""
        what, value = json.loads(line)
        if what == "log":
            self._say(value[0], value[1])
        elif what == "progress":
            self._progress = Progress.model_validate(value)
        elif what == "report":
            self._outcome = self._outcome or Report.model_validate(value)
        elif what == "error":
            error = error_of(Problem.model_validate(value))
            self._outcome = self._outcome or hidden(error, self._hide)
        elif what == "at":
            self._at = self._hide(value)
        elif what == "memory":
            self._memory = value
        elif what == "fence":
            self._answering = asyncio.get_running_loop().create_task(self._answer(down))

    async def _answer(self, down: Connection) -> None:
        """Whether the child may commit: only while the lease is this attempt's."""
        try:
            async with asyncio.timeout(self.settings.lease_seconds / 3):
                held = await self._renew()
        except ANY:
            held = False
        with contextlib.suppress(OSError):
            down.send_bytes(b"yes" if held else b"no")

    def _print(self, line: bytes) -> None:
        """Take in a line that the child, or a library in it, printed."""
        text = line.decode(errors="replace").rstrip()
        if text:
            self._say("info", text)

    def _say(self, level: str, text: str) -> None:
        self._lines.append((datetime.now(UTC), level, self._hide(text)[:MAX_LINE]))

    async def _flush(self) -> None:
        """Write what has been said; lines that the database refuses are left out: they keep no task from its end."""
        lines, self._lines = self._lines, []
        if lines:
            try:
                await self.ledger.add_lines(self.key, self.number, lines)
            except BaseException as error:
                if isinstance(error, psycopg.Error) and not isinstance(error, AWAY):
                    log.exception("log.refused", key=self.key[:12])
                    return
                self._lines = lines + self._lines
                raise

    def _word(self) -> Report | Problem:
        """How the attempt ended: as the child said, or as its exit tells."""
        if isinstance(self._outcome, Report):
            return self._outcome
        error = self._outcome or _exit_error(self._process.exitcode, self._at)
        problem = error.problem()
        return problem.model_copy(update={"step": problem.step or self.row["step"]})


def private_memory(pid: int) -> int:
    """The bytes of a process that are its own, mapped files not counted; 0 where it has gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


class Lines:
    """Hears a pipe by lines without ever waiting for it: a stopped child must not stop the service."""

    def __init__(self, pipe: Connection, heard: Callable[[bytes], None]) -> None:
        self._pipe, self._heard, self._rest = pipe, heard, b""
        os.set_blocking(pipe.fileno(), False)
        asyncio.get_running_loop().add_reader(pipe.fileno(), self._read)

    def _read(self) -> bool:
        """Take in what is there; False where there is nothing more."""
        try:
            data = os.read(self._pipe.fileno(), 1 << 20)
        except BlockingIOError:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._heard(line)
        if not data:
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        return bool(data)

    def close(self) -> None:
        """Take in the rest, and close the pipe."""
        while self._read():
            pass
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self._pipe.close()


def _given_up(times: int) -> RopewalkError:
    """The error of a task that takes its service down with it, or comes to no end for another reason."""
    return RetryableError(
        f"the task's stage was lost {times} times while it ran",
        code="lost",
        hint="look into the stage's log: it may have too little memory",
    )


def _refused(error: psycopg.Error) -> RopewalkError:
    """The error of an attempt whose words the ledger does not take, however often they are said."""
    return FatalError(
        f"the stage's database refuses what the task says ({type(error).__name__})",
        code="refused",
        hint="the stage's log has the database's words",
    )


def _exit_error(code: int | None, at: str | None) -> RopewalkError:
    """What a child's silent end means, and what it read then."""
    if (
        code is not None
        and code < 0
        and -code in {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT}
    ):
        name = signal.Signals(-code).name
        return FatalError(
            f"a native library crashed on this input ({name})",
            code="crashed",
            hint="the bytes that it read are broken; the service is not harmed",
            file=at,
        )
    how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
    return RetryableError(f"the task's process ended without a word ({how})", code="died")
