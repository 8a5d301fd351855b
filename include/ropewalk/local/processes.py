"""Processes that outlive the command that started them, each known by its pid *and* its birth.

A record names a process by pid, and by when it was started: a pid that the system has given to
somebody else
since is never taken for ours, and never stopped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import psutil

from ropewalk.local.account import Account
from ropewalk.local.home import Home, write_private

LOG_LIMIT = 20 * 1024 * 1024
BIN = Path(sys.prefix) / "bin"
INHERITED = {
    *("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "TZ"),
    *("HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
}
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Record:
    """A started process: its pid, its birth, and a digest of the settings that it was started
    with.
    """

    pid: int
    birth: str
    settings: str

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return birth(self.pid) == self.birth


def birth(pid: int) -> str | None:
    """What tells a process from an earlier one with its pid; None where no live process has it."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return _ticks(pid) or f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def read(home: Home, name: str) -> Record | None:
    """The record of a service's last start, whether it still runs or not."""
    path = _path(home, name)
    return Record(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def inherited() -> dict[str, str]:
    """What a process takes over of the caller's environment: who and where the caller is, and how
    the network is reached; nothing that would lead Python, Airflow or Postgres elsewhere.
    """
    kept = {name: value for name, value in os.environ.items() if name.upper() in INHERITED}
    return {**kept, "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}"}


def recorded(home: Home) -> list[str]:
    """The names of the services that were started and not stopped since."""
    return sorted(path.stem for path in (home.path / "run").glob("[!.]*.json"))


def start(
    home: Home,
    name: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    settings: str = "",
    account: Account | None = None,
) -> Record:
    """Starts a process in a session of its own, its output appended to ``logs/NAME.log``, and
    records it.
    """
    with open(_log(home, name), "ab", opener=partial(os.open, mode=0o600)) as log:
        process = subprocess.Popen(  # type: ignore[call-overload]
            list(argv),
            env={**inherited(), **env},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
            **(account.popen() if account else {}),
        )
    process.returncode = 0  # it is to outlive this process: nobody here waits for its end
    record = Record(process.pid, birth(process.pid) or "", settings)
    write_private(_path(home, name), json.dumps(asdict(record)))
    return record


def stop(home: Home, name: str, *, by: signal.Signals = signal.SIGTERM, seconds: float = 5) -> bool:
    """Stops a service and all that it started; kills what does not go in time. False where nothing
    ran.
    """
    record = read(home, name)
    if record is None:
        return False
    family = members(record)
    if record.alive:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(record.pid).send_signal(by)
        _gone([process for process in family if process.pid == record.pid], seconds)
    for process in _gone(family, 1):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _gone(family, 5)
    _path(home, name).unlink(missing_ok=True)
    return bool(family)


def members(record: Record) -> list[psutil.Process]:
    """The processes of a record's session and their descendants, the first one included; none
    where its pid is now another's.
    """
    if birth(record.pid) not in {None, record.birth}:
        return []
    everyone = list(psutil.process_iter(["ppid"]))
    found = {process.pid for process in everyone if _session(process.pid) == record.pid}
    for process in everyone:  # in the order of their pids: nearly always parents first
        if process.info["ppid"] in found:
            found.add(process.pid)
    return [process for process in everyone if process.pid in found and birth(process.pid)]


def _gone(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Waits until the processes have ended, for so long at most; gives those that have not.

    A dead process whose parent has not asked for its status yet counts as ended.
    """
    deadline = time.monotonic() + seconds
    while left := [process for process in processes if process.is_running() and birth(process.pid)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return left


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _ticks(pid: int) -> str | None:
    """Boot and clock ticks since then: unlike the time of day, not moved when the clock is set
    (Linux only).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return f"{BOOT_ID.read_text(encoding='utf-8').strip()}/{fields[19]}"
    except OSError:
        return None


def _path(home: Home, name: str) -> Path:
    return home.path / "run" / f"{name}.json"


def log_path(home: Home, name: str) -> Path:
    """The file that a service's output goes to."""
    return home.folder("logs") / f"{name}.log"


def _log(home: Home, name: str) -> Path:
    """The log to append to; a long one is put aside first, and one old one is kept."""
    path = log_path(home, name)
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_suffix(".log.1"))
    return path
