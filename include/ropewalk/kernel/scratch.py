"""A replica's own scratch folder: replicas may share the folder around it, and a killed one leaves nothing for long."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

LOCK = ".lock"


@contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """A new folder under ``parent`` for the life of this process; those of processes that have died are removed.

    Who lives is known by a lock on a file beside the folder, which the system lets go with the process: that holds
    for containers which share a volume too, where a process id says nothing.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    folder = parent / secrets.token_hex(4)
    mine = folder.with_suffix(LOCK)
    with _locked(mine):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            mine.unlink(missing_ok=True)


def sweep(parent: Path) -> None:
    """Remove the folders under ``parent`` whose owners have died.

    A task of such a one may still be ending, and write meanwhile: then its folder is there for the next sweep.
    """
    for lock in parent.glob(f"*{LOCK}"):
        with suppress(OSError), lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                shutil.rmtree(lock.with_suffix(""))
            lock.unlink(missing_ok=True)


def _locked(path: Path) -> IO[str]:
    """The lock's file, locked, and still there: another replica may sweep it before it is locked."""
    while True:
        file = path.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        file.close()
