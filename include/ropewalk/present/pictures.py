"""The files behind a chart: its data as CSV and JSON, and pictures of it as SVG and PNG."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

from ropewalk.present.charting import SCHEMA, Drawing
from ropewalk.present.digits import texts

if TYPE_CHECKING:
    import pyarrow as pa

WIDTHS = {"third": 380, "half": 620, "full": 1100}
PICTURED_ROWS, PICTURED_TEXT = 25, 28
LOOK: dict[str, Any] = {
    "background": "white",
    "font": "DejaVu Sans, Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {"gridColor": "#e5e8ec", "domainColor": "#b8c0c9", "tickColor": "#b8c0c9"},
    "range": {"category": ["#1f6f8b", "#e07a3f", "#5a9367", "#8b5fa8", "#c9a227", "#b5485d"]},
}
SCALE = 2.0
UNDRAWABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\u2028\u2029\ufffe\uffff]"
)  # of no XML, or of no script
KINDS = {"svg": "image/svg+xml", "png": "image/png"}


def values_of(table: pa.Table) -> list[dict[str, Any]]:
    """A chart's rows for JSON: at most some thousands. What JSON cannot say is null or text."""
    import pyarrow as pa

    columns = [_sayable(column) for column in table.columns]
    return pa.table(columns, names=table.column_names).to_pylist()  # type: ignore[no-any-return]


def _sayable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    is_type = pa.types
    if is_type.is_dictionary(kind):
        return _sayable(column.cast(kind.value_type))
    if is_type.is_decimal(kind) or is_type.is_floating(kind):
        numbers = column.cast(pa.float64())
        return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))
    if is_type.is_timestamp(kind):
        wanted = "%Y-%m-%dT%H:%M:%SZ" if kind.tz else "%Y-%m-%dT%H:%M:%S"
        return pc.strftime(column.cast(pa.timestamp("s", kind.tz), safe=False), wanted)
    if is_type.is_integer(kind) or is_type.is_boolean(kind):
        return column
    if is_type.is_binary(kind) or is_type.is_nested(kind):
        texts = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([texts], pa.string())
    return column.cast(pa.string())


def csv_of(table: pa.Table) -> bytes:
    """The table as CSV; columns of lists and structs as text."""
    import pyarrow as pa
    from pyarrow import csv

    columns = [
        _sayable(column)
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type)
        else column
        for column in table.columns
    ]
    sink = io.BytesIO()
    csv.write_csv(pa.table(columns, names=table.column_names), sink)
    return sink.getvalue()


def json_of(values: list[dict[str, Any]]) -> bytes:
    """The rows as a JSON array."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False).encode()


def drawn(spec: str, kind: str) -> bytes:
    """A picture, ``svg`` or ``png``, of a specification that stands alone."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(json.dumps(_drawable(json.loads(spec))))
    return svg.encode() if kind == "svg" else vl_convert.svg_to_png(svg, scale=SCALE)


def _drawable(value: Any) -> Any:
    """A specification without the characters that no SVG may have: they would end the process that draws it."""
    if isinstance(value, str):
        return UNDRAWABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_drawable(name): _drawable(one) for name, one in value.items()}
    return [_drawable(one) for one in value] if isinstance(value, list) else value


def still(drawing: Drawing, title: str, width: str, values: list[dict[str, Any]]) -> dict[str, Any]:
    """A specification that stands alone: with its data, its title and its width."""
    heading = {"text": title, "anchor": "start", "fontSize": 15, "offset": 12}
    if drawing.number is not None:
        body = _text(
            [{"text": drawing.number}], {"fontSize": 44, "fontWeight": 600, "align": "left", "x": 4}
        )
        return {**body, "title": heading, "height": 70, "width": 300, "config": LOOK}
    if drawing.spec is None:
        return {**_grid(drawing.table.column_names, values), "title": heading, "config": LOOK}
    return {
        **drawing.spec,
        "width": WIDTHS[width],
        "title": heading,
        "data": {"values": values},
        "config": LOOK,
    }


def _grid(names: list[str], values: list[dict[str, Any]]) -> dict[str, Any]:
    """A table as texts in a grid."""
    shown = values[:PICTURED_ROWS]
    cells = [
        {"row": index, "column": name, "text": _short(text)}
        for name in names
        for index, text in enumerate(texts([row[name] for row in shown]))
    ]
    made = _text(cells, {"align": "left", "dx": -56, "fontSize": 11})
    axis = {
        "orient": "top",
        "title": None,
        "labelAngle": 0,
        "labelAlign": "left",
        "labelOffset": -56,
        "ticks": False,
    }
    encoding = {
        **made["encoding"],
        "x": {"field": "column", "type": "nominal", "sort": names, "axis": axis},
        "y": {"field": "row", "type": "ordinal", "axis": None},
    }
    return {**made, "encoding": encoding, "width": {"step": 130}, "height": {"step": 20}}


def _text(values: list[dict[str, Any]], mark: dict[str, Any]) -> dict[str, Any]:
    return {
        "$schema": SCHEMA,
        "data": {"values": values},
        "mark": {"type": "text", **mark},
        "encoding": {"text": {"field": "text", "type": "nominal"}},
    }


def _short(text: str) -> str:
    return text if len(text) <= PICTURED_TEXT else f"{text[: PICTURED_TEXT - 1]}…"
