"""Files in a folder: what a reader with a glob sees."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from ropewalk.contracts.errors import ConfigError, FatalError, RetryableError
from ropewalk.kernel.roots import locate
from ropewalk.store import files
from ropewalk.testing.bench import TaskBench
from ropewalk.testing.s3 import PASSWORD, USER, s3_server
from ropewalk.testing.sinks import Row, SinkSuite, day, numbers, table

from tests.disks import file_limit


class FilesSuite(SinkSuite):
    """Every format keeps what a sink keeps."""

    name = "files"

    @pytest.fixture(autouse=True)
    def root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A root to write to."""
        folder = tmp_path / "published"
        folder.mkdir()
        monkeypatch.setenv("ROPEWALK_ROOT_OUT", str(folder))
        self.folder = folder / "tables" / "days"
        return folder

    def files(self) -> list[str]:
        """What a glob finds."""
        ending = self.options["format"]
        return sorted(
            p.relative_to(self.folder).as_posix() for p in self.folder.rglob(f"*.{ending}")
        )

    def read(self) -> list[Row]:
        form = "ipc" if self.options["format"] == "arrow" else self.options["format"]
        names = [str(self.folder / name) for name in self.files()]
        if not names:
            return []
        rows: list[Row] = ds.dataset(names, format=form).to_table().to_pylist()
        return rows

    def test_nothing_is_left_beside_the_files(self, bench: TaskBench) -> None:
        self.load(bench, numbers(1), "replace_partition")
        self.load(bench, numbers(2), "replace_partition", requested=2)
        everything = {
            p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()
        }
        assert everything == {f"2013-01-01-0.{self.options['format']}", "_ropewalk/2013-01-01.json"}


class TestParquet(FilesSuite):
    options = {"path": "out://tables", "format": "parquet"}

    def test_columns_become_folders(self, bench: TaskBench) -> None:
        self.load(bench, numbers(1, 2), "replace_partition", by=["word"])
        assert self.files() == ["word=w1/2013-01-01-0.parquet", "word=w2/2013-01-01-0.parquet"]
        self.load(bench, numbers(2, 3), "replace_partition", by=["word"], requested=2)
        assert self.files() == ["word=w2/2013-01-01-0.parquet", "word=w3/2013-01-01-0.parquet"]
        found = ds.dataset(
            str(self.folder), partitioning="hive", exclude_invalid_files=True
        ).to_table()
        assert sorted(found["word"].to_pylist()) == ["w2", "w3"]

    def test_an_unknown_column_to_part_by_is_refused(self, bench: TaskBench) -> None:
        with pytest.raises(ConfigError, match="the data has no column 'wrod'") as caught:
            self.load(bench, numbers(1), "replace_partition", by=["wrod"])
        assert caught.value.hint == "did you mean 'word'?"

    @pytest.mark.parametrize("path", ["out://../x", "out:///etc", "out://a/../../x"])
    def test_the_root_cannot_be_left(self, bench: TaskBench, path: str) -> None:
        with pytest.raises(ConfigError, match="out://"):
            self.load(bench, numbers(1), "replace_partition", path=path)

    def test_a_link_leads_nowhere_else(self, bench: TaskBench, root: Path, tmp_path: Path) -> None:
        (root / "tables").symlink_to(tmp_path)
        with pytest.raises(ConfigError, match="leads out of out://"):
            self.load(bench, numbers(1), "replace_partition")

    def test_a_killed_attempts_leftovers_are_cleared_away(self, bench: TaskBench) -> None:
        request = self.asked(bench, 7)
        aside = self.folder / f".2013-01-01.{'ab' * 8}"
        aside.mkdir(parents=True)
        (aside / "2013-01-01-9.parquet").write_bytes(b"half")
        bench.perform(request)
        assert self.seen() == [7]
        assert not aside.exists()

    @pytest.mark.parametrize(("later", "said"), [(3, None), (2, "cannot be written")])
    def test_what_was_stopped_before_its_first_file_changes_nothing(
        self, bench: TaskBench, later: int, said: str | None
    ) -> None:
        """When it goes on after another load of the partition: by a later request, or another attempt."""
        self.load(bench, numbers(1), "replace_partition")

        def meanwhile() -> None:
            self.load(bench, numbers(7, 8), "replace_partition", requested=later)

        with pytest.raises(RetryableError, match=said) if said else nullcontext():
            self.load(bench, numbers(5), "replace_partition", requested=2, fence=meanwhile)
        assert self.seen() == [7, 8]
        assert list(self.folder.glob(".*")) == []

    def test_what_another_writes_after_the_look_is_looked_at_again(
        self, bench: TaskBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else the folder keeps an older request's rows, and the record says that it holds the later one's."""
        self.load(bench, numbers(7), "replace_partition", requested=1)
        alone, go = threading.Event(), threading.Event()

        def stop(point: str) -> None:
            if point == "files.alone" and threading.current_thread() is not threading.main_thread():
                alone.set()
                assert go.wait(20)

        def older() -> None:
            self.load(bench, numbers(5), "replace_partition", requested=3)

        monkeypatch.setattr(files, "failpoint", stop)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(older)
            assert alone.wait(20)

            def meanwhile() -> None:
                go.set()
                first.result()

            later = self.load(bench, numbers(7), "replace_partition", requested=4, fence=meanwhile)
        assert not later.replayed
        assert self.seen() == [7]
        assert self.load(bench, numbers(7), "replace_partition", requested=6).replayed

    def test_files_that_another_has_removed_before_they_took_their_place_are_not_taken_for_none(
        self, bench: TaskBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else those before them are taken away, and nothing is there in their place."""
        self.load(bench, numbers(1), "replace_partition", requested=1)
        write = ds.write_dataset

        def written_and_removed(data: Any, base_dir: str, *, filesystem: Any, **more: Any) -> None:
            write(data, base_dir, filesystem=filesystem, **more)
            filesystem.delete_dir_contents(base_dir)

        with monkeypatch.context() as patch:
            patch.setattr(ds, "write_dataset", written_and_removed)
            with pytest.raises(RetryableError, match="cannot be written"):
                self.load(bench, numbers(2), "replace_partition", requested=2)
        assert self.seen() == [1]
        self.load(bench, numbers(2), "replace_partition", requested=2)
        assert self.seen() == [2]

    def test_while_a_later_request_is_half_written_an_older_one_is_not_done(
        self, bench: TaskBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.load(bench, numbers(1), "replace_partition", requested=1)
        with monkeypatch.context() as patch:
            patch.setattr(files, "_take_away", lambda *_: 1 / 0)
            with pytest.raises(FatalError, match="ZeroDivisionError"):
                self.load(bench, numbers(1, 2), "replace_partition", by=["word"], requested=5)
        with pytest.raises(RetryableError, match="requested later, is writing it, or was cut off"):
            self.load(bench, numbers(3), "replace_partition", requested=4)
        self.load(bench, numbers(4), "replace_partition", requested=6)
        assert self.seen() == [4]

    def test_a_load_that_was_cut_off_is_not_taken_for_whole(
        self, bench: TaskBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither its own rows, nor those of the load before: they are written anew."""
        self.load(bench, numbers(1), "replace_partition")

        def cut(name: str) -> None:
            if name == "files.moved":
                raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(files, "failpoint", cut)
            with pytest.raises(RetryableError):
                self.load(bench, numbers(2), "replace_partition", requested=2)
        self.load(bench, numbers(1), "replace_partition", requested=3)
        assert self.seen() == [1]

    def test_a_replacement_that_comes_late_leaves_the_partitions_of_later_requests(
        self, bench: TaskBench
    ) -> None:
        self.load(bench, numbers(1), "replace_partition", partition=1, requested=1)
        self.load(bench, numbers(2), "replace_partition", partition=2, requested=5)
        self.load(bench, numbers(7), "replace", requested=3)
        assert self.seen() == [2, 7]

    def asked(self, bench: TaskBench, *values: int) -> Any:
        """A request to publish some numbers."""
        return bench.request(
            "store",
            [("files", {**self.options, "mode": "replace_partition"})],
            inputs={"days": table(numbers(*values))},
            partition=day(1),
        )

    def test_a_full_disk_is_told_and_what_was_there_stays(self, bench: TaskBench) -> None:
        self.load(bench, numbers(1), "replace_partition")
        many = pa.table(
            {"n": range(200_000), "word": [str(n * 7919 % 1_000_003) for n in range(200_000)]}
        )
        request = bench.request(
            "store",
            [("files", {**self.options, "mode": "replace_partition"})],
            inputs={"days": many},
            partition=day(1),
            requested=2,
        )
        with (
            file_limit(100_000),
            pytest.raises(RetryableError, match=r"^out://tables/days cannot be written: "),
        ):
            bench.perform(request)
        assert self.seen() == [1]
        assert list(self.folder.glob(".*")) == []


class TestCsv(FilesSuite):
    options = {"path": "out://tables", "format": "csv"}

    def test_what_csv_cannot_hold_is_refused(self, bench: TaskBench) -> None:
        nested = pa.table({"n": [1], "list": [[1, 2]]})
        with pytest.raises(ConfigError, match="this format cannot hold the data"):
            bench.run(
                "store",
                [("files", {**self.options, "mode": "replace"})],
                inputs={"days": nested},
            )


class TestArrow(FilesSuite):
    options = {"path": "out://tables", "format": "arrow"}


def test_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", USER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    folder = tmp_path / "s3"
    folder.mkdir()
    with s3_server(folder) as url:
        monkeypatch.setenv("ROPEWALK_ROOT_OUT", f"s3://ready/lake?endpoint={url}")
        bench = TaskBench(tmp_path)
        for requested, values in ((1, (1, 2)), (2, (3,))):
            bench.run(
                "store",
                [("files", {"path": "out://tables"})],
                inputs={"days": table(numbers(*values))},
                partition=day(1),
                requested=requested,
            )
        assert locate("out://x")[0].find("tables/**") == [
            "tables/days/2013-01-01-0.parquet", "tables/days/_ropewalk/2013-01-01.json",
        ]  # fmt: skip
