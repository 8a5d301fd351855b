"""The conformance suite of sinks: inherit it, name the plugin, and say how a reader reads what it wrote."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ropewalk.contracts.errors import ConfigError, RetryableError
from ropewalk.contracts.models import Partition, Published, Report
from ropewalk.contracts.plugins import plugin
from ropewalk.testing.bench import TaskBench

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


def day(number: int) -> Partition:
    """A day of January."""
    start = datetime(2013, 1, number, tzinfo=UTC)
    return Partition(start=start, end=start + timedelta(days=1), name=f"{start:%Y-%m-%d}")


class SinkSuite:
    """What every sink keeps, for a step ``sink`` that publishes the rows of a step ``days``."""

    name: ClassVar[str]
    options: ClassVar[dict[str, Any]]

    def read(self) -> list[Row]:
        """The rows as a reader sees them, in any order; to be said by each sink's own test."""
        raise NotImplementedError

    @pytest.fixture
    def bench(self, tmp_path: Path) -> TaskBench:
        """The stage, with a dataset store of its own."""
        return TaskBench(tmp_path)

    def load(
        self,
        bench: TaskBench,
        rows: list[Row],
        mode: str,
        *,
        partition: int | None = 1,
        requested: int = 1,
        fence: Any = None,
        **more: Any,
    ) -> Published:
        """Publish rows; what the report says of it."""
        request = bench.request(
            "store",
            [(self.name, {**self.options, "mode": mode, **more})],
            inputs={"days": table(rows)},
            partition=day(partition) if partition else None,
            requested=requested,
            step="sink",
        )
        report: Report = bench.perform(request, **({"fence": fence} if fence else {}))
        (published,) = report.published
        return published

    def seen(self) -> list[int]:
        """The numbers that a reader finds, sorted."""
        return sorted(row["n"] for row in self.read())

    @pytest.mark.parametrize("mode", ["replace_partition", "append", "replace"])
    def test_a_task_done_again_changes_nothing(self, bench: TaskBench, mode: str) -> None:
        """Whatever the mode."""
        for requested in (1, 2, 2):
            self.load(bench, numbers(1, 2), mode, requested=requested)
            assert self.seen() == [1, 2]

    @pytest.mark.parametrize("mode", ["replace_partition", "append"])
    def test_partitions_stand_beside_each_other(self, bench: TaskBench, mode: str) -> None:
        """And one that is done again with other rows takes its own rows' place."""
        self.load(bench, numbers(1, 2), mode, partition=1, requested=1)
        self.load(bench, numbers(3), mode, partition=2, requested=2)
        assert self.seen() == [1, 2, 3]
        self.load(bench, numbers(4), mode, partition=1, requested=3)
        assert self.seen() == [3, 4]

    def test_replace_takes_the_place_of_all(self, bench: TaskBench) -> None:
        """Whichever partition wrote it."""
        self.load(bench, numbers(1), "replace_partition", partition=1)
        self.load(bench, numbers(2), "replace_partition", partition=2)
        self.load(bench, numbers(7, 8), "replace", partition=None, requested=5)
        assert self.seen() == [7, 8]

    def test_an_older_request_does_not_undo_a_later_one(self, bench: TaskBench) -> None:
        """Whoever comes last."""
        self.load(bench, numbers(2), "replace_partition", requested=20)
        late = self.load(bench, numbers(1), "replace_partition", requested=10)
        assert late.superseded
        assert self.seen() == [2]

    def test_rows_that_are_there_are_not_written_again(self, bench: TaskBench) -> None:
        """And the report says so."""
        assert not self.load(bench, numbers(1, 2), "replace_partition").replayed
        assert self.load(bench, numbers(1, 2), "replace_partition", requested=2).replayed

    def test_a_partition_may_become_empty(self, bench: TaskBench) -> None:
        """No rows are an answer too."""
        self.load(bench, numbers(1, 2), "replace_partition")
        assert self.load(bench, [], "replace_partition", requested=2).rows == 0
        assert self.seen() == []

    def test_a_task_that_is_no_longer_its_own_changes_nothing(self, bench: TaskBench) -> None:
        """The fence stands before what readers see."""
        self.load(bench, numbers(1), "replace_partition")

        def lost() -> None:
            raise RetryableError("another attempt has taken this task over", code="fenced")

        with pytest.raises(RetryableError, match="another attempt"):
            self.load(bench, numbers(5, 6), "replace_partition", requested=2, fence=lost)
        assert self.seen() == [1]
        self.load(bench, numbers(5, 6), "replace_partition", requested=2)
        assert self.seen() == [5, 6]

    def test_replacing_a_partition_needs_one(self, bench: TaskBench) -> None:
        """And the error says what to write instead."""
        with pytest.raises(
            ConfigError, match="mode replace_partition needs a workflow with partitions"
        ) as caught:
            self.load(bench, numbers(1), "replace_partition", partition=None)
        assert caught.value.hint == "mode: replace"

    def test_an_unknown_option_is_refused(self) -> None:
        """With the nearest."""
        with pytest.raises(ConfigError, match=f"sink '{self.name}' has no option 'mod'"):
            plugin("sink", self.name).parse({**self.options, "mod": "append"})


def numbers(*values: int) -> list[Row]:
    """Rows with a number and a word."""
    return [{"n": value, "word": f"w{value}"} for value in values]


def table(rows: list[Row]) -> pa.Table:
    """Rows as Arrow has them; none have the columns nevertheless."""
    import pyarrow as pa

    return pa.Table.from_pylist(rows, schema=pa.schema({"n": pa.int64(), "word": pa.string()}))
