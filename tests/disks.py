"""Disks that are soon full: a small file system where root may mount one, a limit of a file's size elsewhere."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Disk:
    """A small file system in memory, mounted at ``path``."""

    path: Path

    def grow(self, size: str) -> None:
        """Make room."""
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.path)], check=True)

    @property
    def used(self) -> int:
        """The bytes that files take."""
        found = os.statvfs(self.path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize


@contextmanager
def small_disk(path: Path, size: str, owner: tuple[int, int] | None = None) -> Iterator[Disk]:
    """A disk of so many bytes (``8m``); skips the test where none can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    uid, gid = owner or (os.geteuid(), os.getegid())
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={size},uid={uid},gid={gid},mode=700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "ropewalk-test", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"this machine mounts no disk: {done.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
        path.rmdir()


@contextmanager
def file_limit(most: int) -> Iterator[None]:
    """A disk that takes files of so many bytes and no more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
