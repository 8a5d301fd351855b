"""Writes the dataset store in a folder to standard output, as a tar: ``save.py FOLDER``.

Meanwhile tasks go on writing to it, and garbage is collected. What a manifest names is there before it and goes after
it; so first all but manifests is saved, and then those manifests that were there at the beginning and still are:
whatever a saved manifest names is saved too. Standard library alone: it is run in the stage's container.
"""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

MANIFEST = "manifest.json"
BUFFER = 1024 * 1024
Identity = tuple[int, int]


def unless_gone(error: OSError) -> None:
    """Raises an error, unless it is that a folder has gone meanwhile."""
    if not isinstance(error, FileNotFoundError):
        raise error


def files(folder: Path) -> Iterator[Path]:
    """All files below a folder, without the seats of attempts under way: their names begin with a dot."""
    for place, _, names in os.walk(folder, onerror=unless_gone):
        yield from (Path(place) / name for name in names if not name.startswith("."))


def identity(status: os.stat_result) -> Identity:
    """What another file of the same name has not."""
    return status.st_ino, status.st_mtime_ns


def manifests(folder: Path) -> dict[Path, Identity]:
    """The manifests that are there now."""
    found = {}
    for path in files(folder):
        if path.name == MANIFEST:
            try:
                found[path] = identity(path.stat())
            except FileNotFoundError:
                continue
    return found


def add(tar: tarfile.TarFile, path: Path, folder: Path, known: Identity | None = None) -> None:
    """Add a file, unless it is gone or, where it is known, another has its name now."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        if known in {None, identity(os.fstat(file.fileno()))}:
            info = tar.gettarinfo(arcname=str(path.relative_to(folder)), fileobj=file)
            tar.addfile(info, file)


def save(folder: Path, tar: tarfile.TarFile) -> None:
    """Add all that is in a dataset store and belongs together."""
    begun = manifests(folder)
    for path in files(folder):
        if path.name != MANIFEST:
            add(tar, path, folder)
    for path, known in begun.items():
        add(tar, path, folder, known)


if __name__ == "__main__":
    with tarfile.open(
        fileobj=sys.stdout.buffer, mode="w|", bufsize=BUFFER, dereference=True
    ) as whole:
        save(Path(sys.argv[1]), whole)
