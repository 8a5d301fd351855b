"""Processes are known by pid and birth; what is stopped is all of ours and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
from ropewalk.local import processes
from ropewalk.local.home import Home, write_private

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    for name in processes.recorded(home):
        processes.stop(home, name, by=signal.SIGKILL)


def _sleeper(home: Home, name: str = "sleeper") -> processes.Record:
    return processes.start(home, name, ["sleep", "600"], {})


def test_a_started_process_is_alive_in_a_session_of_its_own_and_then_stopped(home: Home) -> None:
    record = _sleeper(home)
    assert record.alive
    assert os.getsid(record.pid) == record.pid
    assert processes.read(home, "sleeper") == record
    assert processes.stop(home, "sleeper")
    assert not record.alive
    assert processes.read(home, "sleeper") is None
    assert not processes.stop(home, "sleeper")


def test_a_pid_that_was_given_to_another_process_is_not_ours_and_is_not_stopped(home: Home) -> None:
    stranger = _sleeper(home, "stranger")
    stale = replace(stranger, birth="an earlier boot/12")
    write_private(home.path / "run" / "ours.json", json.dumps(asdict(stale)))
    assert not stale.alive
    assert processes.members(stale) == []
    assert not processes.stop(home, "ours")
    assert stranger.alive


def test_stopping_takes_what_the_process_had_started_even_if_it_does_not_listen(home: Home) -> None:
    record = processes.start(home, "stubborn", [sys.executable, "-c", STUBBORN], {})
    child = _first_number(processes.log_path(home, "stubborn"))
    assert processes.stop(home, "stubborn", seconds=0.1)
    assert processes.birth(record.pid) is None
    assert processes.birth(child) is None


def test_what_a_killed_process_left_behind_is_stopped(home: Home) -> None:
    record = processes.start(home, "stubborn", [sys.executable, "-c", STUBBORN], {})
    child = _first_number(processes.log_path(home, "stubborn"))
    os.kill(record.pid, signal.SIGKILL)
    os.waitpid(record.pid, 0)
    assert not record.alive
    assert [process.pid for process in processes.members(record)] == [child]
    assert processes.stop(home, "stubborn")
    assert processes.birth(child) is None


def test_a_zombie_is_dead() -> None:
    with subprocess.Popen(["true"]) as process:
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert processes.birth(process.pid) is None


def test_its_files_are_for_the_owner_alone(home: Home) -> None:
    processes.start(home, "quick", ["sh", "-c", "umask"], {})
    assert _first_number(processes.log_path(home, "quick")) == 77
    for path in (home.path / "run" / "quick.json", processes.log_path(home, "quick")):
        assert path.stat().st_mode & 0o77 == 0


def test_the_callers_environment_leads_no_process_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PYTHONPATH", "AIRFLOW__CORE__DAGS_FOLDER", "PGHOST", "ROPEWALK_TOKEN", "SSH_TTY"):
        monkeypatch.setenv(name, "/elsewhere")
    monkeypatch.setenv("LANG", "C.UTF-8")
    assert "/elsewhere" not in processes.inherited().values()
    assert processes.inherited()["LANG"] == "C.UTF-8"


def _first_number(path: Path) -> int:
    """The number that a process prints first; waits until it has."""
    while not (text := path.read_text(encoding="utf-8")).endswith("\n"):
        pass
    return int(text)
