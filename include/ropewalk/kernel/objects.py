"""Where the bytes of the dataset store are: a directory, or a bucket. Two back ends behind four verbs.

Names are made by us (hexadecimal keys and short words), never by users. A name is written once: ``create``
is atomic and says whether this call was the one that created it. Of a task's attempts only the one that holds
the name's *seat* can create it: whoever sits down last has it, whatever the one before is doing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from ropewalk.contracts.errors import ConfigError, NotFoundError, RetryableError
from ropewalk.kernel.failpoints import failpoint

SEAT = b"seat "  # how the object begins that holds a name's place in a bucket
NAME = re.compile(r"^[a-z0-9][a-z0-9_.-]*(/\.?[a-z0-9][a-zA-Z0-9_.-]*)*$")


class Objects(Protocol):
    """The bytes of a store by name; ``mapped`` where its files can be mapped into memory as they are."""

    mapped: bool

    def seat(self, name: str) -> str:
        """Take the right to create a name from whoever has it."""

    def create(self, name: str, data: bytes, seat: str = "") -> bool:
        """Write a small object whole and durably, unless the name exists; whether this call wrote it.

        With a seat, RetryableError where another has taken that since.
        """

    def rise(self, name: str, seat: str) -> None:
        """Give a seat back, where that can be told from another's; no error."""

    def add(self, name: str, path: Path) -> None:
        """Move a finished local file to a name that no one else uses; durable on return."""

    def read(self, name: str) -> bytes:
        """The bytes of an object; NotFoundError where there is none."""

    def exists(self, name: str) -> bool:
        """Whether there is a small object of that name."""

    def local(self, name: str, scratch: Path) -> Path:
        """A local file with the object's bytes: itself, or a copy under ``scratch``."""

    def names(self, prefix: str) -> Iterator[str]:
        """The names that begin with ``prefix``, sorted."""

    def ages(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Every name that begins with ``prefix``, seats too, and how many seconds ago it was written: by one clock."""

    def delete(self, name: str) -> None:
        """Remove an object; no error where there is none."""


def open_objects(url: str, *, endpoint: str | None = None) -> Objects:
    """The back end of a store's URL: ``file:///path`` or ``s3://bucket/prefix``."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Directory(Path(parts.path))
    if parts.scheme == "s3":
        return Bucket(parts.netloc, parts.path.strip("/"), endpoint)
    raise ConfigError(
        f"a dataset store is file:///path or s3://bucket/prefix, not {url!r}", code="store_url"
    )


class Directory:
    """A store in a directory: a local disk, or a file system that several machines mount."""

    mapped = True

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def seat(self, name: str) -> str:
        path = self._path(name)
        mine = path.parent / f".{path.name}.{secrets.token_hex(8)}"
        while not mine.exists():
            path.parent.mkdir(parents=True, exist_ok=True)  # made safe with what is created in it
            with contextlib.suppress(FileNotFoundError):  # the folder was another's to remove
                mine.touch(exist_ok=False)
        for seat in path.parent.glob(f".{path.name}.*"):
            if seat != mine:
                seat.unlink(missing_ok=True)
        return mine.name

    def create(self, name: str, data: bytes, seat: str = "") -> bool:
        path = self._path(name)
        self._make(path.parent)
        draft = path.parent / (seat or f".{path.name}.{secrets.token_hex(8)}")
        try:
            _write_synced(draft, data, "r+b" if seat else "xb")
            failpoint("manifest.written")
            os.link(draft, path)  # atomic, and refuses a name that exists: rename would replace it
        except FileExistsError:
            return False
        except FileNotFoundError:  # the seat is gone, and so is what would have been linked
            if seat:
                raise overtaken(name) from None
            return False  # the collector has removed the folder meanwhile
        finally:
            draft.unlink(missing_ok=True)
        for folder in path.parents:
            _sync_folder(
                folder
            )  # those above are safe already, or come with the seat: then it takes no time
            if folder == self.root:
                break
        return True

    def rise(self, name: str, seat: str) -> None:
        path = self._path(name)
        with contextlib.suppress(OSError):
            (path.parent / seat).unlink(missing_ok=True)
            path.parent.rmdir()

    def add(self, name: str, path: Path) -> None:
        target = self._path(name)
        self._make(target.parent)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        try:
            path.rename(target)
        except FileNotFoundError:  # the folder is gone, and with it the seat of who adds to it
            raise overtaken(name) from None
        except OSError as error:
            if error.errno != errno.EXDEV:  # another file system
                raise
            _copy_synced(path, target)
            path.unlink()

    def read(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"the dataset store has no {name}") from None

    def exists(self, name: str) -> bool:
        return self._path(name).is_file()

    def local(self, name: str, scratch: Path) -> Path:  # noqa: ARG002 - a directory needs no copy
        path = self._path(name)
        if not path.is_file():
            raise NotFoundError(f"the dataset store has no {name}")
        return path

    def names(self, prefix: str) -> Iterator[str]:
        for path in _files(self._path(prefix) if prefix else self.root):
            if not path.name.startswith("."):
                yield path.relative_to(self.root).as_posix()

    def ages(self, prefix: str) -> Iterator[tuple[str, float]]:
        now = self._clock()
        for path in _files(self._path(prefix)):
            with contextlib.suppress(FileNotFoundError):
                yield path.relative_to(self.root).as_posix(), now - path.stat().st_mtime

    def _clock(self) -> float:
        """What time it is for the file system, which may be another machine's."""
        path = self.root / f".clock.{secrets.token_hex(8)}"
        try:
            path.touch(exist_ok=False)
            return path.stat().st_mtime
        finally:
            path.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        path = self._path(name)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    def _make(self, folder: Path) -> None:
        """Have a folder that is still there after a loss of power."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)

    def _path(self, name: str) -> Path:
        return self.root / _safe(name)


class Bucket:
    """A store in a bucket of an S3 service; ``create`` is a conditional put (If-None-Match).

    A seat is an object in the name's place, which reads as if there were none. The next seat replaces it, and so does
    what is created, each only if it still is the one that was seen (If-Match).
    """

    mapped = False

    def __init__(self, bucket: str, prefix: str, endpoint: str | None) -> None:
        import boto3
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "max_attempts": 5}, s3={"addressing_style": "path"}
        )
        self._s3: Any = boto3.client("s3", endpoint_url=endpoint, config=config)
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""

    def seat(self, name: str) -> str:
        mine = SEAT + secrets.token_hex(8).encode()
        etag = self._put(name, mine, IfNoneMatch="*")
        while etag is None:
            found, before = self._get(name)
            if not found.startswith(SEAT):
                return ""  # it has been created already
            etag = self._put(name, mine, IfMatch=before)
        return etag

    def create(self, name: str, data: bytes, seat: str = "") -> bool:
        if self._put(name, data, **({"IfMatch": seat} if seat else {"IfNoneMatch": "*"})):
            return True
        try:
            found, _ = self._get(name)
        except NotFoundError:  # it was there, and the collector has removed it since
            found = b""
        if found.startswith(SEAT) or (seat and not found):
            raise overtaken(name)
        return found == data  # so it is where the answer to a first try was lost

    def rise(self, name: str, seat: str) -> None:
        pass  # a delete cannot be bound to what is there: the next attempt or the collector takes it

    def _put(self, name: str, data: bytes, **condition: str) -> str | None:
        """Write on a condition: the new object's tag, or None where the condition does not hold."""
        from botocore.exceptions import ClientError

        with _store_errors(name):
            try:
                answer = self._s3.put_object(
                    Bucket=self._bucket, Key=self._name(name), Body=data, **condition
                )
            except ClientError as error:
                if _status(error) in {404, 412}:  # Not Found to If-Match, Precondition Failed
                    return None
                raise
        return str(answer["ETag"])

    def _get(self, name: str) -> tuple[bytes, str]:
        with _store_errors(name):
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._name(name))
            return answer["Body"].read(), str(answer["ETag"])

    def add(self, name: str, path: Path) -> None:
        with _store_errors(name):
            self._s3.upload_file(str(path), self._bucket, self._name(name))
        path.unlink()

    def read(self, name: str) -> bytes:
        body, _ = self._get(name)
        if body.startswith(SEAT):
            raise NotFoundError(f"the dataset store has no {name}")
        return body

    def exists(self, name: str) -> bool:
        try:
            self.read(name)  # a seat is no object, and only its content tells
        except NotFoundError:
            return False
        return True

    def local(self, name: str, scratch: Path) -> Path:
        path = scratch / name.replace("/", "_")
        if not path.exists():
            draft = path.with_suffix(f".{secrets.token_hex(4)}")
            with _store_errors(name):
                self._s3.download_file(self._bucket, self._name(name), str(draft))
            draft.rename(path)
        return path

    def names(self, prefix: str) -> Iterator[str]:
        for page in self._pages(prefix):
            for item in page.get("Contents", ()):
                yield item["Key"].removeprefix(self._prefix)

    def ages(self, prefix: str) -> Iterator[tuple[str, float]]:
        for page in self._pages(prefix):
            now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
            for item in page.get("Contents", ()):
                age = (now - item["LastModified"]).total_seconds()
                yield item["Key"].removeprefix(self._prefix), age

    def _pages(self, prefix: str) -> Iterator[Any]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with _store_errors(prefix):
            yield from pages

    def delete(self, name: str) -> None:
        with _store_errors(name):
            self._s3.delete_object(Bucket=self._bucket, Key=self._name(name))

    def _name(self, name: str) -> str:
        return self._prefix + _safe(name)


@contextlib.contextmanager
def _store_errors(name: str) -> Iterator[None]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (ClientError, BotoCoreError, Boto3Error) as error:  # the last of a file's transfer
        if isinstance(error, ClientError) and _status(error) == HTTPStatus.NOT_FOUND:
            raise NotFoundError(f"the dataset store has no {name}") from None
        raise RetryableError(
            f"the dataset store failed at {name}: {error}", code="store"
        ) from error


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _safe(name: str) -> str:
    if not NAME.match(name):
        raise NotFoundError(f"{name!r} is not a name in the dataset store")
    return name


def overtaken(name: str) -> RetryableError:
    """The error of an attempt whose task a later one has taken over."""
    return RetryableError(f"a later attempt has taken {name} over", code="fenced")


def _files(folder: Path) -> list[Path]:
    """The files in a folder and below, sorted; what is removed meanwhile may be among them or not."""
    return sorted(Path(here, name) for here, _, names in os.walk(folder) for name in names)


def _write_synced(path: Path, data: bytes, mode: Literal["xb", "r+b"]) -> None:
    with path.open(mode) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _copy_synced(path: Path, target: Path) -> None:
    """Copy a file whole, or not at all."""
    draft = target.parent / f".{target.name}.{secrets.token_hex(8)}"
    try:
        shutil.copyfile(path, draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
