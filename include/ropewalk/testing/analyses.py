"""The conformance suite of analyses: inherit it, name the plugin, and give it rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ropewalk.contracts.errors import ConfigError, DataError
from ropewalk.contracts.models import Report
from ropewalk.contracts.plugins import plugin
from ropewalk.testing.bench import TaskBench

if TYPE_CHECKING:
    import pyarrow as pa


class AnalysisSuite:
    """What every analysis keeps; ``bad`` are options that name a column which does not exist."""

    name: ClassVar[str]
    options: ClassVar[dict[str, Any]]
    bad: ClassVar[dict[str, Any]]

    def table(self) -> pa.Table:
        """The rows to analyse; to be said by each analysis's own test."""
        raise NotImplementedError

    @pytest.fixture
    def bench(self, tmp_path: Path) -> TaskBench:
        """The stage, with a dataset store of its own."""
        return TaskBench(tmp_path)

    def analyze(self, bench: TaskBench, table: pa.Table, **options: Any) -> Report:
        """The report of a step that analyses a table."""
        do = [(self.name, {**self.options, **options})]
        return bench.run("analyze", do, inputs={"rows": table})

    def test_the_order_of_the_rows_does_not_matter(self, bench: TaskBench) -> None:
        """The same rows in another order give the same content."""
        import numpy as np

        table = self.table()
        order = np.random.default_rng(1).permutation(table.num_rows)
        one, two = self.analyze(bench, table), self.analyze(bench, table.take(order))
        assert one.output is not None
        assert two.output is not None
        assert one.output.fingerprint == two.output.fingerprint

    def test_no_rows_are_told_or_give_the_same_columns(self, bench: TaskBench) -> None:
        """Never an error of a library."""
        table = self.table()
        try:
            empty = self.analyze(bench, table.slice(0, 0))
        except DataError as error:
            assert error.code in {"no_rows", "too_few_rows"}  # noqa: PT017 - either is right
        else:
            assert empty.columns["data"] == self.analyze(bench, table).columns["data"]

    def test_its_lineage_names_columns_that_exist(self, bench: TaskBench) -> None:
        """Of the input that they come from."""
        table = self.table()
        report = self.analyze(bench, table)
        assert set(report.lineage.columns) <= {column.name for column in report.columns["data"]}
        assert report.lineage.columns
        for sources in report.lineage.columns.values():
            assert {source.column for source in sources} <= set(table.column_names)

    def test_an_unknown_column_is_refused(self, bench: TaskBench) -> None:
        """With the nearest name."""
        with pytest.raises(ConfigError, match="the data has no column") as caught:
            self.analyze(bench, self.table(), **self.bad)
        assert caught.value.hint

    def test_an_unknown_option_is_refused(self) -> None:
        """With the plugin's name."""
        with pytest.raises(ConfigError, match=f"analysis '{self.name}' has no option 'colour'"):
            plugin("analysis", self.name).parse({**self.options, "colour": 1})

    def test_it_says_what_it_is(self) -> None:
        """One line, and a schema of its options."""
        info = plugin("analysis", self.name).info()
        assert info.description
        assert info.options["properties"]
