"""Every chart keeps what a chart keeps, and does what is its own."""

from __future__ import annotations

import pyarrow as pa
import pytest
from ropewalk.contracts.errors import ConfigError, DataError
from ropewalk.testing.charts import ChartSuite

MANY = pa.table(
    {"word": [f"w{n}" for n in range(6000)], "x": range(6000), "y": range(6000), "at": range(6000)}
)


class TestBar(ChartSuite):
    name = "bar"
    options = {"x": "word", "y": "y"}
    bad = {"x": "wrod"}

    def test_rows_are_counted_or_aggregated(self) -> None:
        table = pa.table({"word": ["a", "b", "a"], "y": [1.0, 2.0, 3.0]})
        counted = self.draw(table, y=None).table.sort_by("word")
        assert counted.to_pylist() == [{"word": "a", "count": 2}, {"word": "b", "count": 1}]
        mean = self.draw(table, aggregate="mean").table.sort_by("word")
        assert mean["y"].to_pylist() == [2.0, 2.0]

    def test_too_many_are_refused_or_cut(self) -> None:
        with pytest.raises(DataError) as caught:
            self.draw(MANY)
        assert str(caught.value) == (
            "6,000 marks are too many for a chart: at most 5,000 (limit: 30 shows the first bars)"
        )
        drawing = self.draw(MANY, limit=30)
        assert drawing.table.num_rows == 30
        assert drawing.notes == ["The first 30 of 6,000."]

    def test_lying_bars(self) -> None:
        spec = self.draw(self.table(), horizontal=True).spec
        assert spec is not None
        assert spec["encoding"]["y"]["field"] == "word"


class TestLine(ChartSuite):
    name = "line"
    options = {"x": "at", "y": "y"}
    bad = {"y": "yy"}

    def test_moments_lie_in_their_order(self) -> None:
        spec = self.draw(self.table().take([2, 0, 1])).spec
        assert spec is not None
        assert spec["encoding"]["x"]["type"] == "temporal"
        assert self.draw(self.table().take([2, 0, 1])).table["at"].to_pylist() == sorted(
            self.table()["at"].to_pylist()
        )


class TestScatter(ChartSuite):
    name = "scatter"
    options = {"x": "x", "y": "y"}
    bad = {"size": "sise"}

    def test_many_points_are_an_even_sample_that_is_told(self) -> None:
        drawing = self.draw(MANY, sample=100)
        assert drawing.table.num_rows == 100
        assert drawing.table["x"].to_pylist()[:2] == [0, 60]
        assert drawing.notes == ["An even sample of 100 of 6,000 rows."]


class TestHistogram(ChartSuite):
    name = "histogram"
    options = {"x": "y"}
    bad = {"x": "z"}

    def test_all_rows_are_counted_whatever_the_bounds(self) -> None:
        table = pa.table({"y": [*range(1000), None, None]})
        drawing = self.draw(table, low=100, high=200, bins=10)
        counts = drawing.table["count"].to_pylist()
        assert sum(counts) == 1000
        assert (counts[0], counts[-1]) == (110, 810)
        assert drawing.notes == ["2 rows have no value."]

    def test_texts_have_no_histogram(self) -> None:
        with pytest.raises(ConfigError, match="column 'word' is not of numbers"):
            self.draw(self.table(), x="word")


class TestHeatmap(ChartSuite):
    name = "heatmap"
    options = {"x": "x", "y": "word", "color": "y"}
    bad = {"color": "colour"}


class TestTable(ChartSuite):
    name = "table"
    options = {}
    bad = {"columns": ["wrod"]}

    def test_the_first_rows_by_a_column(self) -> None:
        drawing = self.draw(self.table(), sort="-y", rows=2, columns=["word", "y"])
        assert drawing.table.to_pylist() == [{"word": "a", "y": 1.5}, {"word": "c", "y": 0.0}]
        assert drawing.notes == ["The first 2 of 3 rows."]


class TestNumber(ChartSuite):
    name = "number"
    options = {"value": "y"}
    bad = {"value": "z"}

    @pytest.mark.parametrize(
        ("options", "shown"),
        [
            ({"value": None}, "3"),
            ({"value": "x", "aggregate": "mean", "format": ".1f", "unit": " min"}, "2.0 min"),
            ({"value": "x", "aggregate": "max"}, "3"),
            ({"value": "word", "aggregate": "count"}, "3"),
        ],
    )
    def test_a_number_in_its_format(self, options: dict[str, str], shown: str) -> None:
        assert self.draw(self.table(), **options).number == shown

    def test_what_has_no_sum_and_what_is_no_format(self) -> None:
        with pytest.raises(ConfigError, match="column 'word' has no sum"):
            self.draw(self.table(), value="word")
        with pytest.raises(ConfigError, match="'%d' is no format of a number"):
            self.draw(self.table(), format="%d")
