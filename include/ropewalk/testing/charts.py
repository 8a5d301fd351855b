"""The conformance suite of charts: inherit it, name the plugin, and give it rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.plugins import plugin
from ropewalk.present.pictures import csv_of, drawn, json_of, still, values_of

if TYPE_CHECKING:
    import pyarrow as pa

    from ropewalk.present.charting import Drawing

HOSTILE = "</script><img src=x onerror=alert(1)>"


class ChartSuite:
    """What every chart keeps; ``bad`` are options that name a column which does not exist."""

    name: ClassVar[str]
    options: ClassVar[dict[str, Any]]
    bad: ClassVar[dict[str, Any]]

    def table(self) -> pa.Table:
        """The rows to draw: a word, a moment, and two numbers; a chart may have others."""
        import pyarrow as pa

        days = pa.array(["2013-01-01T05:00:00Z", "2013-01-02T05:00:00Z", "2013-01-03T05:00:00Z"])
        return pa.table(
            {
                "word": ["a", "b", "c"],
                "at": days.cast(pa.timestamp("us", "UTC")),
                "x": pa.array([1, 2, 3]),
                "y": pa.array([1.5, -2.5, 0.0]),
            }
        )

    def draw(self, table: pa.Table, **options: Any) -> Drawing:
        """The chart of a table."""
        found = plugin("chart", self.name)
        drawing: Drawing = found.function(
            found.parse({"of": "rows", **self.options, **options}), table
        )
        return drawing

    def shown(self, table: pa.Table, **options: Any) -> str:
        """The chart as SVG; it must be drawn, and its data must be readable."""
        drawing = self.draw(table, **options)
        values = values_of(drawing.table)
        assert json.loads(json_of(values)) == values
        if drawing.table.num_columns:
            assert csv_of(drawing.table)
        spec = json.dumps(still(drawing, "A title", "half", values))
        assert drawn(spec, "png").startswith(b"\x89PNG")
        return drawn(spec, "svg").decode()

    def test_it_is_drawn(self) -> None:
        """As SVG and PNG, with its title."""
        assert "A title" in self.shown(self.table())

    def test_no_rows_are_no_error(self) -> None:
        """They are an empty chart."""
        assert "<svg" in self.shown(self.table().slice(0, 0))

    def test_missing_and_infinite_values_are_no_error(self) -> None:
        """JSON has no word for them."""
        import pyarrow as pa

        table = self.table()
        strange = pa.array([None, float("nan"), float("inf")])
        assert "<svg" in self.shown(table.set_column(3, "y", strange))

    def test_hostile_text_is_text(self) -> None:
        """In values and in titles."""
        import pyarrow as pa

        table = self.table().set_column(0, "word", pa.array([HOSTILE] * 3))
        assert "<img" not in self.shown(table, title=HOSTILE, note=HOSTILE)

    def test_an_unknown_column_is_refused(self) -> None:
        """With the nearest name."""
        with pytest.raises(ConfigError, match="the data has no column") as caught:
            self.draw(self.table(), **self.bad)
        assert caught.value.hint

    def test_an_unknown_option_is_refused(self) -> None:
        """With the plugin's name."""
        with pytest.raises(ConfigError, match=f"chart '{self.name}' has no option 'colour'"):
            plugin("chart", self.name).parse({"of": "rows", **self.options, "colour": "red"})
