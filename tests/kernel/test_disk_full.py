"""A disk that is full: the task fails for now and says which, leaves nothing, and succeeds when there is room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from ropewalk.contracts.errors import RetryableError
from ropewalk.contracts.models import RunInfo, TaskRequest, Use
from ropewalk.contracts.plugins import plugin
from ropewalk.testing.bench import TaskBench
from ropewalk.testing.services import StageService, running

from tests.conftest import Postgres
from tests.disks import Disk, file_limit, small_disk

ROWS = 400_000
MANY = pa.table({"n": range(ROWS), "word": [f"{n * 7919 % 1_000_003:020}" for n in range(ROWS)]})
HINT = "(make room where ROPEWALK_STORE_URL or ROPEWALK_SCRATCH_DIR is; nothing is half-written)"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 6 MiB."""
    with small_disk(tmp_path / "disk", "6m") as one:
        yield one


@pytest.fixture
def csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of 12 MB in ``data://``."""
    from pyarrow import csv as pacsv

    (tmp_path / "data").mkdir()
    pacsv.write_csv(MANY, tmp_path / "data" / "many.csv")
    monkeypatch.setenv("ROPEWALK_ROOT_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def reading() -> TaskRequest:
    """A task that reads the file."""
    source = plugin("source", "files")
    use = Use(plugin="files", version=source.version, options={"path": "data://many.csv"})
    run = RunInfo(id="run-1", requested=0)
    return TaskRequest(workflow="disk", step="read", stage="collect", do=[use], run=run)


@pytest.mark.parametrize("full", ["store", "scratch"])
def test_a_service_outlives_a_full_disk(
    postgres: Postgres, tmp_path: Path, disk: Disk, csv: Path, full: str
) -> None:
    assert csv.is_dir()
    places = {"ROPEWALK_STORE_URL": (tmp_path / "store").as_uri()}
    if full == "store":
        places["ROPEWALK_STORE_URL"] = (disk.path / "store").as_uri()
    else:
        places["ROPEWALK_SCRATCH_DIR"] = str(disk.path / "scratch")
    service = StageService("collect", postgres.database().stage("collect"), tmp_path, places)
    with running(service):
        with pytest.raises(RetryableError) as caught:
            service.do(reading())
        assert caught.value.code == "disk_full"
        assert str(caught.value) == (
            f"a disk of the stage is full: [Errno 28] {caught.value.detail.partition('] ')[2]} {HINT}"
        )
        assert disk.used < 1 << 20
        disk.grow("64m")
        assert service.do(reading()).rows.out == ROWS


def test_a_store_that_takes_no_more_keeps_nothing_half(tmp_path: Path, csv: Path) -> None:
    assert csv.is_dir()
    bench = TaskBench(tmp_path)
    request = bench.request("collect", [("files", {"path": "data://many.csv"})])
    with file_limit(1 << 20), pytest.raises(RetryableError, match="a disk of the stage is full"):
        bench.perform(request)
    left = [path for path in (tmp_path / "store").rglob("*") if path.stat().st_size > 1_000]
    assert not [path for path in left if path.is_file()]
    assert bench.perform(request).rows.out == ROWS


def test_a_query_that_cannot_spill_is_for_now(tmp_path: Path, disk: Disk) -> None:
    bench = TaskBench(tmp_path, memory_limit=64 << 20, threads=1, scratch_dir=disk.path / "scratch")
    wide = MANY.append_column("wide", pa.array(["x" * 100] * ROWS))
    refs = TaskBench(tmp_path).dataset("rows", wide)
    query = ("sql", {"query": "SELECT * FROM rows ORDER BY word, wide"})
    request = bench.request("process", [query], inputs={"rows": refs})
    with pytest.raises(RetryableError) as caught:
        bench.perform(request)
    assert caught.value.code == "disk_full"
    assert str(caught.value).startswith("a disk of the stage is full: ")
    assert list((disk.path / "scratch").glob("task-*")) == []
    disk.grow("512m")
    assert bench.perform(request).rows.out == ROWS
