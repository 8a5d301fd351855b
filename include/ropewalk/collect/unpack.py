"""Files as streams of bytes: opened, unpacked within bounds, recognized by their first bytes, decoded by their mark.

Packed bytes are read through Arrow's own streams, which check what the format has (gzip's checksum and
length, zstd's checksum where it was written) and tell a file that was cut; zip checks every member.
"""

from __future__ import annotations

import codecs
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa

from ropewalk.contracts.errors import DataError, RetryableError
from ropewalk.kernel.roots import Root

PACKED = {"gz": "gzip", "gzip": "gzip", "zip": "zip", "zst": "zstd", "zstd": "zstd"}
BUFFER = 1 << 20
RATIO = 200  # times its size that a packed file may have; small files may be packed better
SMALL = 64 << 20
MOST_MEMBERS = 1_000
MARKS = {
    b"PK\x03\x04": "a zip archive or an Excel file", b"\x1f\x8b": "packed by gzip",
    b"\x28\xb5\x2f\xfd": "packed by zstd", b"BZh": "packed by bzip2", b"7z\xbc\xaf": "packed by 7-Zip",
    b"PAR1": "a Parquet file", b"ARROW1": "an Arrow file", b"%PDF": "a PDF document",
    b"\xd0\xcf\x11\xe0": "an old Office file", b"SQLite format 3": "a SQLite database",
}  # fmt: skip
PAGES = {b"<!doctype html": "an HTML page", b"<html": "an HTML page", b"<?xml": "an XML document"}
BOMS = (  # UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


class Stream(Protocol):
    """What can be read from its beginning to its end."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most ``size``; none at the end."""


@contextmanager
def opened(root: Root, path: str) -> Iterator[IO[bytes]]:
    """A file; RetryableError where it is not the same when it has been read."""
    place = root.path(path)
    before = root.filesystem.get_file_info(place)
    with root.open(path) as file:
        yield file
    after = root.filesystem.get_file_info(place)
    if (before.size, before.mtime_ns) != (after.size, after.mtime_ns):
        raise RetryableError(
            "the file changed while it was read",
            code="file_changed",
            file=f"{root.name}://{path}",
            hint="write files aside, and rename them when they are whole",
        )


def packing(name: str) -> str:
    """How a file is packed, by its name's ending."""
    return PACKED.get(name.rpartition(".")[2].lower(), "none")


def unpacked(file: Any, name: str, how: str, most: int) -> Iterator[tuple[str, Any]]:
    """What a file holds: itself, or what is packed in it, at most ``most`` bytes of it.

    The names in an archive are data, never paths.
    """
    if how == "zip":
        yield from _members(file, name, most)
    elif how == "none":
        yield name, file
    else:
        packed = pa.BufferedInputStream(file, BUFFER)
        stream = pa.CompressedInputStream(packed, how)
        yield name.rpartition(".")[0], Limited(stream, name, file.size(), most)


@contextmanager
def archive_of(file: Any) -> Iterator[zipfile.ZipFile]:
    """A zip archive; BadZipFile for one that is none, whatever the library says of it."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (LookupError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, UnicodeError):
            raise
        raise zipfile.BadZipFile(str(error)) from None


def _members(file: Any, name: str, most: int) -> Iterator[tuple[str, Any]]:
    """The files in a zip archive; what an archiver leaves in it for itself is passed over."""
    with archive_of(file) as archive:
        members = [one for one in archive.infolist() if not (one.is_dir() or _of_archiver(one))]
        _check_members(members, name)
        for member in members:
            inner = f"{name}/{member.filename}"
            with archive.open(member) as stream:
                yield inner, Limited(stream, inner, member.compress_size, most)


def _check_members(members: list[zipfile.ZipInfo], name: str) -> None:
    if not members:
        raise DataError("the archive holds no file", code="empty_file", file=name)
    if len(members) > MOST_MEMBERS:
        raise DataError(
            f"an archive may have {MOST_MEMBERS} files, and this has {len(members)}",
            code="too_large",
            file=name,
        )
    seen: set[str] = set()
    for member in members:
        inner = f"{name}/{member.filename}"
        if member.flag_bits & 1:
            raise DataError("the file is encrypted", code="encrypted", file=inner)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError("this is a link and no file", code="link", file=inner)
        if member.filename in seen:
            raise DataError("two files of the archive have this name", code="doubled", file=inner)
        seen.add(member.filename)


def _of_archiver(member: zipfile.ZipInfo) -> bool:
    return member.filename.startswith("__MACOSX/") or member.filename.endswith("/.DS_Store")


class Limited:
    """A stream of unpacked bytes that ends with an error where it unpacks to too many."""

    closed = False

    def __init__(self, stream: Stream, name: str, packed: int, most: int) -> None:
        self._stream, self._name, self._most = stream, name, most
        self._likely = max(SMALL, RATIO * packed)
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes; DataError where there are more than may be."""
        data = self._stream.read(size)
        self._read += len(data)
        if self._read > min(self._most, self._likely):
            raise self._too_large()
        return bytes(data)

    def _too_large(self) -> DataError:
        if self._read > self._most:
            return too_large(self._name, self._most)
        return DataError(
            f"the file unpacks to more than {RATIO} times its size",
            code="too_large",
            file=self._name,
            hint="unpack it where it comes from, if that is right",
        )


def too_large(name: str, most: int) -> DataError:
    """What is said of a file that holds more than a task may read of one."""
    return DataError(
        f"the file holds more than {most >> 20} MiB",
        code="too_large",
        file=name,
        hint="raise ROPEWALK_MAX_UNPACKED of this stage, if that is right",
    )


@contextmanager
def seekable(stream: Any, folder: Path) -> Iterator[Any]:
    """The stream as one that can go back: what was packed is laid in a folder first."""
    if isinstance(stream, pa.NativeFile) and stream.seekable():
        yield stream
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        shutil.copyfileobj(stream, file, BUFFER)
        file.seek(0)
        yield pa.PythonFile(file, "r")


class Text:
    """A stream of text: its mark (BOM) is taken off, and what is no superset of ASCII is made UTF-8."""

    def __init__(self, stream: Stream, name: str, encoding: str) -> None:
        self._stream, self._name = stream, name
        self._start = stream.read(64)
        self.encoding = encoding
        self._find_mark()
        self._decoder: codecs.IncrementalDecoder | None = None
        if not _like_ascii(self.encoding):
            self._decoder = codecs.getincrementaldecoder(self.encoding)()
            self._told, self.encoding = self.encoding, "utf-8"

    def read(self, size: int = -1) -> bytes:
        """The next bytes, of the encoding that ``encoding`` says."""
        while True:
            data = self._start or self._stream.read(size)
            self._start = b""
            if self._decoder is None:
                return data
            found = self._decoded(self._decoder, data)
            if found or not data:
                return found

    def check(self, kind: str) -> None:
        """DataError where the first bytes are those of another kind of file."""
        start = self._start.lstrip().lower()
        marks = (what for mark, what in MARKS.items() if self._start.startswith(mark))
        pages = (what for mark, what in PAGES.items() if start.startswith(mark))
        found = next(marks, None) or next(pages, None)
        if found:
            raise DataError(
                f"this is {found}, not {kind}",
                code="wrong_format",
                file=self._name,
                hint="is it the right file? format: and compression: say what it is",
            )

    def _find_mark(self) -> None:
        for mark, encoding in BOMS:
            if self._start.startswith(mark):
                self._start = self._start[len(mark) :]
                self.encoding = encoding
                return

    def _decoded(self, decoder: codecs.IncrementalDecoder, data: bytes) -> bytes:
        try:
            return decoder.decode(data, final=not data).encode()
        except UnicodeError as error:
            reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
            raise DataError(
                f"the bytes are not {self._told}: {reason}", code="encoding", file=self._name
            ) from None


def _like_ascii(encoding: str) -> bool:
    """Whether a line's end and a quote are in no other character's bytes."""
    name = codecs.lookup(encoding).name
    plain = '\n\r",;|\t'.encode(encoding) == b'\n\r",;|\t'
    return plain and not name.startswith(("iso2022", "hz", "utf-7", "utf7"))
