"""Scratch folders of replicas that share the folder around them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from ropewalk.kernel.scratch import own_folder

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
