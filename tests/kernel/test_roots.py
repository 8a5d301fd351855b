"""A root of files is not left: by no path, no link, no glob, and not by a link that is put there meanwhile."""

from __future__ import annotations

import io
import itertools
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ropewalk.contracts.errors import ConfigError, RopewalkError
from ropewalk.kernel.roots import Root, locate
from ropewalk.testing.bench import TaskBench

SECRET = b"n\n4711\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of ``data://``, with a file in it and a secret beside it."""
    folder = tmp_path / "data"
    (folder / "days").mkdir(parents=True)
    (folder / "days" / "one.csv").write_bytes(b"n\n1\n")
    (tmp_path / "data-of-another").mkdir()
    for path in ("secret.csv", "data-of-another/secret.csv"):
        (tmp_path / path).write_bytes(SECRET)
    monkeypatch.setenv("ROPEWALK_ROOT_DATA", str(folder))
    return folder


@pytest.fixture
def root(place: Path) -> Root:
    """That root."""
    assert place
    return locate("data://days/one.csv")[0]


OUT = [
    "../secret.csv",
    "days/../../secret.csv",
    "/etc/passwd",
    "//etc/passwd",
    "days//../../secret.csv",
    "..",
    ".",
    "",
    "../data-of-another/secret.csv",
    "days/one.csv\0.png",
    "\0",
    "..\\secret.csv",
    "\\\\host\\share\\x.csv",
    "a/" * 3000 + "x.csv",
    "x" * 300,
]


@pytest.mark.parametrize("path", OUT)
def test_a_path_that_leaves_is_refused(root: Root, path: str) -> None:
    with pytest.raises((ConfigError, OSError)) as caught:
        root.open(path).read()
    assert SECRET.decode() not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "%2e%2e/secret.csv",
        "..%2fsecret.csv",
        "\uff0e\uff0e/secret.csv",
        "…/secret.csv",
        "~/secret.csv",
        "$HOME/x",
    ],
)
def test_what_only_looks_like_a_way_out_is_a_name(root: Root, path: str) -> None:
    assert root.find(path) == []
    with pytest.raises(FileNotFoundError):
        root.open(path)


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "file://days/one.csv",
        "/etc/passwd",
        "DATA://x",
        "data:/x",
        "http://127.0.0.1/x",
    ],
)
def test_only_roots_are_places(place: Path, uri: str) -> None:
    assert place
    with pytest.raises(ConfigError):
        locate(uri)


@pytest.mark.parametrize(
    "target", ["../secret.csv", "/etc/passwd", "days/../../secret.csv", "loop.csv"]
)
def test_a_link_to_a_file_elsewhere_is_refused(root: Root, place: Path, target: str) -> None:
    (place / "loop.csv").symlink_to(target)
    with pytest.raises(ConfigError, match=r"'loop\.csv' leads out of data://"):
        root.open("loop.csv")


def test_a_glob_goes_through_no_link_to_a_folder(root: Root, place: Path) -> None:
    (place / "up").symlink_to("..")
    (place / "days" / "round").symlink_to("..")
    for pattern in ("**/*.csv", "*/*.csv", "*/*/*.csv", "up/*.csv", "up/**/*.csv"):
        if pattern.startswith("up/"):
            with pytest.raises(ConfigError, match="leads out of data://"):
                root.find(pattern)
        else:
            assert set(root.find(pattern)) <= {"days/one.csv"}
    assert root.near("dais/*.csv") == "data://dais has no files"
    assert "secret" not in str(root.near("x.csv"))


def test_a_link_within_the_root_is_a_way(root: Root, place: Path) -> None:
    (place / "latest").symlink_to("days")
    (place / "days" / "two.csv").symlink_to("one.csv")
    assert root.find("latest/*.csv") == ["latest/one.csv", "latest/two.csv"]
    assert root.open("latest/two.csv").read() == b"n\n1\n"


def test_a_folder_a_pipe_and_a_device_are_no_files(root: Root, place: Path) -> None:
    os.mkfifo(place / "pipe.csv")
    (place / "null.csv").symlink_to("/dev/zero")
    assert root.find("*.csv") in ([], ["null.csv"])
    for path in ("pipe.csv", "null.csv", "days"):
        with pytest.raises(ConfigError):
            root.open(path)


def test_a_link_that_comes_between_check_and_opening_is_noticed(root: Root, place: Path) -> None:
    """A path is a file and a link out by turns, as fast as it goes: no reading ever has what is outside."""
    stop, path = threading.Event(), place / "turns.csv"
    (place / "inside").write_bytes(b"n\n1\n")

    def turn() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            made = place / "made"
            made.symlink_to("../secret.csv" if number % 2 else "inside")
            made.rename(path)

    thread = threading.Thread(target=turn)
    thread.start()
    seen = {"refused": 0, "read": 0}
    try:
        while not path.exists():
            pass
        for _ in range(3000):
            try:
                assert root.open("turns.csv").read() != SECRET
                seen["read"] += 1
            except ConfigError:
                seen["refused"] += 1
    finally:
        stop.set()
        thread.join()
    assert all(seen.values()), seen


def archive(*members: tuple[str, int]) -> bytes:
    """A zip of files with those names and those Unix types."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        for name, kind in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = kind << 16
            zipped.writestr(info, b"n\n1\n" if kind == 0o100644 else b"../secret.csv")
    return packed.getvalue()


def collect(bench: TaskBench, **options: Any) -> list[Any]:
    """The rows that a step reads."""
    report = bench.run("collect", [("files", {"format": "csv", **options})])
    rows: list[Any] = bench.table(report)["n"].to_pylist()
    return rows


def test_the_names_in_an_archive_are_no_paths(place: Path, tmp_path: Path) -> None:
    names = ["../out.csv", "/srv/out.csv", "a/../../out.csv", "C:\\out.csv", "x.csv"]
    (place / "evil.zip").write_bytes(archive(*((name, 0o100644) for name in names)))
    before = sorted(tmp_path.rglob("*"))
    assert collect(TaskBench(tmp_path / "bench"), path="data://evil.zip") == [1] * len(names)
    after = [path for path in tmp_path.rglob("*") if tmp_path / "bench" not in path.parents]
    assert sorted(set(after) - {tmp_path / "bench"}) == before


def test_a_link_in_an_archive_is_not_followed(place: Path, tmp_path: Path) -> None:
    (place / "link.zip").write_bytes(archive(("a.csv", 0o100644), ("link.csv", 0o120777)))
    with pytest.raises(RopewalkError, match=r"link\.csv: this is a link and no file"):
        collect(TaskBench(tmp_path / "bench"), path="data://link.zip")


@pytest.mark.parametrize(
    "path", ["data://../out", "data://up/out", "file:///tmp/out", "data:///out"]
)
def test_a_sink_stays_in_its_root(place: Path, tmp_path: Path, path: str) -> None:
    import pyarrow as pa

    (place / "up").symlink_to("..")
    before = sorted(tmp_path.rglob("*"))
    bench = TaskBench(tmp_path / "bench")
    with pytest.raises(ConfigError):
        bench.run(
            "store",
            [("files", {"path": path, "mode": "replace"})],
            inputs={"t": pa.table({"n": [1]})},
        )
    after = [one for one in tmp_path.rglob("*") if tmp_path / "bench" not in one.parents]
    assert sorted(set(after) - {tmp_path / "bench"}) == before
