"""Scratch folders of replicas that share the folder around them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ropewalk.kernel.perform import scratch_folder
from ropewalk.kernel.scratch import own_folder, sweep

HOLD = """
import sys, time
from pathlib import Path
from ropewalk.kernel.scratch import own_folder
with own_folder(Path(sys.argv[1])) as folder:
    (folder / "spilled").write_text("much")
    print(folder, flush=True)
    time.sleep(600)
"""


def replica(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that has a folder and goes on."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_folder_goes_with_its_owner(tmp_path: Path) -> None:
    with own_folder(tmp_path / "scratch") as folder:
        (folder / "spilled").write_text("much")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_dead_owners_folder_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    dead, left = replica(tmp_path)
    alive, kept = replica(tmp_path)
    try:
        end(dead)
        assert (left / "spilled").exists()
        with own_folder(tmp_path) as mine:
            assert not left.exists()
            assert (kept / "spilled").exists()
            assert mine not in (left, kept)
        assert sorted(path.name for path in tmp_path.iterdir()) == [kept.name, f"{kept.name}.lock"]
    finally:
        end(alive)


def test_what_is_still_written_to_goes_with_the_next_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that outlives its replica by a moment may make a file while its folder is being removed."""
    dead, left = replica(tmp_path)
    end(dead)
    rmdir = os.rmdir

    def as_one_writes(path: str, **more: Any) -> None:
        if Path(path).name == left.name:
            (left / "late").write_text("more")
        rmdir(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", as_one_writes)
        sweep(tmp_path)
    assert (left / "late").exists()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_task_makes_no_folder_where_its_replica_has_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), scratch_folder(tmp_path / "swept" / "task-1"):
        pass
    assert list(tmp_path.iterdir()) == []


LATE = """
import multiprocessing, os, sys, time

def child(mark):
    while os.path.exists(mark + ".service"):
        time.sleep(0.01)
    from ropewalk.kernel.child import bind_to_parent
    bind_to_parent()
    open(mark + ".went-on", "w").close()

if __name__ == "__main__":
    process = multiprocessing.get_context("forkserver").Process(target=child, args=(sys.argv[1],))
    process.start()
    print(process.pid, flush=True)
    time.sleep(600)
"""


def test_a_child_whose_service_was_killed_before_it_began_does_not_go_on(tmp_path: Path) -> None:
    program, mark = tmp_path / "late.py", tmp_path / "mark"
    program.write_text(LATE)
    held = mark.with_suffix(".service")
    held.touch()
    service = subprocess.Popen(
        [sys.executable, str(program), str(mark)], stdout=subprocess.PIPE, text=True
    )
    assert service.stdout is not None
    with service.stdout as said:
        child = int(said.readline())
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    held.unlink()  # so it binds itself to a parent that is dead already
    deadline = time.monotonic() + 60
    while (Path("/proc") / str(child)).exists():
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.01)
    assert not mark.with_suffix(".went-on").exists()
