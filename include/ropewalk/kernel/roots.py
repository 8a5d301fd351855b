"""Files outside: ``<root>://path`` lies in the folder or bucket that ``ROPEWALK_ROOT_<ROOT>`` names, not elsewhere."""

from __future__ import annotations

import fnmatch
import itertools
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from ropewalk.contracts.errors import ConfigError, nearest
from ropewalk.kernel.settings import ROOT, roots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyarrow import NativeFile
    from pyarrow.fs import FileSystem

URI = re.compile(r"^([a-z][a-z0-9_]*)://(.*)$", re.DOTALL)
GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Root:
    """A place of files: a file system of Arrow's and the folder in it that cannot be left."""

    name: str
    filesystem: FileSystem
    base: str
    local: Path | None

    def path(self, relative: str) -> str:
        """The path in the file system of a path in the root; ConfigError for one that leaves it."""
        parts = PurePosixPath(relative).parts
        if (
            not parts
            or relative.startswith("/")
            or ".." in parts
            or "\0" in relative
            or "\\" in relative
        ):
            raise ConfigError(
                f"{relative!r} is not a path within {self.name}://", code="outside_root"
            )
        if self.local is not None:
            return str(self._within(self.local, relative))
        return f"{self.base}/{relative}"

    def open(self, relative: str) -> NativeFile:
        """A file to read. What was opened is what is checked: a path that changes meanwhile leads nowhere else."""
        if self.local is None:
            return self.filesystem.open_input_file(self.path(relative))
        import pyarrow as pa

        handle = os.open(self.path(relative), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            opened = f"/proc/self/fd/{handle}"
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ConfigError(f"{relative!r} in {self.name}:// is no file", code="no_file")
            if not Path(opened).readlink().is_relative_to(self.local):
                raise self._leads_out(relative)
            return pa.OSFile(opened)
        finally:
            os.close(handle)

    def _within(self, local: Path, relative: str) -> Path:
        try:
            real = (local / relative).resolve()
        except (OSError, RuntimeError):  # links that go round
            raise self._leads_out(relative) from None
        if not real.is_relative_to(local):
            raise self._leads_out(relative)
        return real

    def _leads_out(self, relative: str) -> ConfigError:
        return ConfigError(f"{relative!r} leads out of {self.name}://", code="outside_root")

    def find(self, pattern: str) -> list[str]:
        """The files in the root that a path or a glob names, sorted, as paths in the root."""
        if not GLOB.search(pattern):
            from pyarrow.fs import FileType

            found = self.filesystem.get_file_info(self.path(pattern))
            return [pattern] if found.type == FileType.File else []
        folder = "/".join(_before_glob(pattern))
        return sorted(name for name in self._names(folder) if _matches(name, pattern))

    def near(self, pattern: str) -> str | None:
        """A hint at a file beside one that is not there."""
        folder = (
            "/".join(_before_glob(pattern))
            if GLOB.search(pattern)
            else str(PurePosixPath(pattern).parent)
        )
        names = list(itertools.islice(self._names("" if folder == "." else folder), 1000))
        return nearest(pattern, names) if names else f"{self.name}://{folder} has no files"

    def _names(self, folder: str) -> Iterator[str]:
        from pyarrow.fs import FileSelector, FileType

        where = self.path(folder) if folder else self.base
        if self.local is not None:
            yield from _walk(where, folder)
            return
        selector = FileSelector(where, allow_not_found=True, recursive=True)
        for info in self.filesystem.get_file_info(selector):
            if info.type == FileType.File:
                yield str(PurePosixPath(info.path).relative_to(self.base))


def _walk(where: str, folder: str) -> Iterator[str]:
    """The files under a folder, by their paths in the root; a link to a folder is not followed."""
    for here, folders, files in os.walk(where):
        folders.sort()
        inside = PurePosixPath(folder) / PurePosixPath(here).relative_to(where)
        for name in sorted(files):
            if os.path.isfile(os.path.join(here, name)):  # noqa: PTH113, PTH118 - of many thousands
                yield str(inside / name)


def locate(uri: str) -> tuple[Root, str]:
    """The root that a URI names, and the path in it."""
    match = URI.match(uri)
    if match is None:
        raise ConfigError(
            f"{uri!r} is not a path in a root", code="no_root", hint="write data://folder/file.csv"
        )
    return root(match.group(1)), match.group(2)


def root(name: str) -> Root:
    """The root of that name; ConfigError with the nearest where there is none."""
    known = roots()
    if name not in known:
        hint = nearest(name, known) or f"set {ROOT}{name.upper()} for this stage"
        raise ConfigError(f"this stage has no root {name!r}", code="unknown_root", hint=hint)
    return _open(name, known[name])


def _open(name: str, place: str) -> Root:
    from pyarrow import fs

    if not place.startswith("s3://"):
        folder = Path(place).resolve()
        return Root(name, fs.LocalFileSystem(), str(folder), folder)
    parts = urlsplit(place)
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    endpoint = options.get("endpoint")
    scheme, _, address = endpoint.partition("://") if endpoint else ("", "", "")
    more = {"endpoint_override": address, "scheme": scheme} if endpoint else {}
    filesystem = fs.S3FileSystem(region=options.get("region", "us-east-1"), **more)
    return Root(name, filesystem, f"{parts.netloc}{parts.path}".rstrip("/"), None)


def _before_glob(pattern: str) -> list[str]:
    """The folders of a pattern before the first that is a glob."""
    found: list[str] = []
    for part in pattern.split("/")[:-1]:
        if GLOB.search(part):
            break
        found.append(part)
    return found


def _matches(name: str, pattern: str) -> bool:
    """Whether a path fits a glob, where ``**`` is any number of folders and ``*`` stays in one."""
    names, patterns = name.split("/"), pattern.split("/")
    if "**" in patterns:
        at = patterns.index("**")
        head, tail = patterns[:at], patterns[at + 1 :]
        return (
            len(names) >= len(head) + len(tail)
            and all(map(fnmatch.fnmatchcase, names, head))
            and all(map(fnmatch.fnmatchcase, names[len(names) - len(tail) :], tail))
        )
    return len(names) == len(patterns) and all(map(fnmatch.fnmatchcase, names, patterns))
