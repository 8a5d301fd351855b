"""What every back end of the dataset store promises, on a directory and on a real S3 server."""

from __future__ import annotations

import contextlib
import shutil
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest
from ropewalk.contracts.errors import ConfigError, NotFoundError, RetryableError
from ropewalk.kernel.objects import Bucket, Objects, open_objects


@pytest.fixture(params=["directory", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """Each back end in turn, empty."""
    if request.param == "directory":
        return open_objects((tmp_path / "store").as_uri())
    return open_objects(f"s3://store/{tmp_path.name}", endpoint=request.getfixturevalue("s3"))


def test_an_object_is_created_once(objects: Objects) -> None:
    assert objects.create("tasks/ab/manifest.json", b"first")
    assert not objects.create("tasks/ab/manifest.json", b"second")
    assert objects.read("tasks/ab/manifest.json") == b"first"


def test_of_many_who_create_at_once_one_does(objects: Objects) -> None:
    created: list[int] = []
    gate = threading.Barrier(8)

    def create(number: int) -> None:
        gate.wait()
        if objects.create("tasks/ab/manifest.json", b"%d" % number):
            created.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [objects.read("tasks/ab/manifest.json")] == [b"%d" % number for number in created]


def test_what_is_removed_while_it_is_created_was_not_created(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the collector removes a dataset that someone asks to keep."""
    name = "tasks/ab/verdict"
    if isinstance(objects, Bucket):
        assert objects.create(name, b"gone")
        get = objects._get  # noqa: SLF001 - the collector comes between its two requests

        def removed(name: str) -> tuple[bytes, str]:
            objects.delete(name)
            return get(name)

        monkeypatch.setattr(objects, "_get", removed)
    else:
        folder = tmp_path / "store" / "tasks" / "ab"
        monkeypatch.setattr("ropewalk.kernel.objects.failpoint", lambda _: shutil.rmtree(folder))
    assert not objects.create(name, b"kept")
    assert list(objects.names("tasks")) == []


def test_a_file_is_added_found_listed_and_deleted(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "draft").write_bytes(b"rows")
    objects.add("tasks/ab/1-data-0.arrow", tmp_path / "draft")
    assert not (tmp_path / "draft").exists()
    assert objects.local("tasks/ab/1-data-0.arrow", tmp_path).read_bytes() == b"rows"
    assert list(objects.names("tasks")) == ["tasks/ab/1-data-0.arrow"]
    objects.delete("tasks/ab/1-data-0.arrow")
    objects.delete("tasks/ab/1-data-0.arrow")
    assert list(objects.names("tasks")) == []
    with pytest.raises(NotFoundError, match="the dataset store has no tasks/ab/1-data-0.arrow"):
        objects.read("tasks/ab/1-data-0.arrow")


def test_how_old_each_object_is(objects: Objects, tmp_path: Path) -> None:
    seat = objects.seat("tasks/ab/manifest.json")
    assert not objects.exists("tasks/ab/manifest.json")
    assert len(dict(objects.ages("tasks"))) == 1  # the seat
    assert objects.create("tasks/ab/manifest.json", b"{}", seat)
    (tmp_path / "draft").write_bytes(b"rows")
    objects.add("tasks/ab/1-data-0.arrow", tmp_path / "draft")
    ages = dict(objects.ages("tasks"))
    assert set(ages) == {"tasks/ab/manifest.json", "tasks/ab/1-data-0.arrow"}
    assert all(-2 < age < 300 for age in ages.values())  # S3 tells whole seconds
    assert objects.exists("tasks/ab/manifest.json")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../b", "a//b", "", ".hidden", "a/\x00"])
def test_a_name_that_is_a_path_is_refused(objects: Objects, name: str) -> None:
    with pytest.raises(NotFoundError, match="is not a name in the dataset store"):
        objects.read(name)


def test_the_last_to_sit_down_has_the_seat(objects: Objects) -> None:
    name = "tasks/ab/manifest.json"
    first, second = objects.seat(name), objects.seat(name)
    with pytest.raises(
        RetryableError, match="a later attempt has taken tasks/ab/manifest.json over"
    ):
        objects.create(name, b"first", first)
    with pytest.raises(NotFoundError):
        objects.read(name)
    assert objects.create(name, b"second", second)
    assert objects.read(name) == b"second"


def test_a_seat_at_what_is_there_creates_nothing(objects: Objects) -> None:
    name = "tasks/ab/manifest.json"
    assert objects.create(name, b"first", objects.seat(name))
    assert not objects.create(name, b"second", objects.seat(name))
    assert objects.read(name) == b"first"


def test_of_many_who_sit_down_at_most_one_creates(objects: Objects) -> None:
    name, won, gate = "tasks/ab/manifest.json", [], threading.Barrier(8)

    def go(attempt: int) -> None:
        gate.wait()
        seat = objects.seat(name)
        with contextlib.suppress(RetryableError):
            if objects.create(name, b"%d" % attempt, seat):
                won.append(attempt)

    threads = [threading.Thread(target=go, args=(attempt,)) for attempt in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not won:  # each took it from another in the same moment; the next has it
        assert objects.create(name, b"9", objects.seat(name))
        won.append(9)
    assert [objects.read(name)] == [b"%d" % attempt for attempt in won]


def test_a_store_elsewhere_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="a dataset store is file:///path or s3://bucket/prefix, not 'ftp://x'"
    ):
        open_objects("ftp://x")


@pytest.mark.parametrize("verb", ["add", "create", "read", "local", "names", "ages", "delete"])
def test_a_bucket_that_refuses_is_asked_again_later(
    verb: str, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # which remembers its keys
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    objects: Any = open_objects("s3://store/refused", endpoint=s3)
    (tmp_path / "draft").write_bytes(b"rows")
    given: dict[str, list[Any]] = {
        "add": [tmp_path / "draft"],
        "create": [b"{}"],
        "local": [tmp_path],
    }
    with pytest.raises(RetryableError, match="the dataset store failed at tasks/ab/one"):
        list(getattr(objects, verb)("tasks/ab/one", *given.get(verb, [])) or ())


def test_what_goes_while_it_is_looked_for_is_no_error(tmp_path: Path) -> None:
    """A collector removes folders while another replica, or a client of Flight, goes through them."""
    objects = open_objects((tmp_path / "store").as_uri())
    assert objects.create("tasks/00/kept", b"")
    done = threading.Event()

    def make_and_remove() -> None:
        for turn in range(40):
            names = [f"tasks/{number:02x}/{turn}" for number in range(1, 40)]
            for name in names:
                objects.create(name, b"")
            for name in names:
                objects.delete(name)
        done.set()

    thread = threading.Thread(target=make_and_remove)
    thread.start()
    try:
        while not done.is_set():
            assert "tasks/00/kept" in objects.names("tasks")
            assert "tasks/00/kept" in dict(objects.ages("tasks"))
    finally:
        thread.join()
    assert list(objects.names("tasks")) == ["tasks/00/kept"]
