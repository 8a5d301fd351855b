"""JSON and Excel: records that are none, numbers that no float holds, cells in error."""

from __future__ import annotations

import datetime as dt
import io
import json
import zipfile
from typing import Any

import openpyxl

from tests.corpus.bytes_cases import zipped
from tests.corpus.case import Case, jsonl

DEEP = b'{"n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
TOO_DEEP = "the record nests deeper than 64 brackets"
INEXACT = "n: a float does not hold this number exactly; declare the column as a decimal"


def book(*rows: list[Any], title: str = "Days") -> bytes:
    """An Excel file of one sheet."""
    made = openpyxl.Workbook()
    sheet: Any = made.active
    sheet.title = title
    for row in rows:
        sheet.append(row)
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


def bomb_of_cells() -> bytes:
    """An Excel file whose sheet unpacks to 600 MiB."""
    whole, file = book(["n"], [1]), io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(whole)) as old,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            if "sheet1" not in name:
                new.writestr(name, old.read(name))
        with new.open("xl/worksheets/sheet1.xml", "w") as sheet:
            for _ in range(600):
                sheet.write(b" " * (1 << 20))
    return file.getvalue()


def far_apart() -> bytes:
    """An Excel file of two cells, in the first and the last place that a sheet has."""
    made = openpyxl.Workbook()
    sheet: Any = made.active
    sheet["A1"], sheet["XFD1048576"] = "n", 1
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


def late_fields() -> bytes:
    """A field, a fraction and a list's type that come in a later block than the first."""
    lines = [b'{"n": %d, "w": "%s", "l": []}' % (n, b"x" * 3_000) for n in range(6_000)]
    return b"\n".join([*lines, b'{"n": 6000.5, "w": "z", "l": [1], "more": "yes"}', b""])


CASES = [
    Case("059-deep", **jsonl(b'{"n": 1}\n' + DEEP + b"\n"), rows=[(1,)], aside=[(2, None, TOO_DEEP)]),
    Case("059-deep-document", files={"a.json": b'[{"n": 1}, ' + DEEP[:2_006] + b"]" * 2_000 + b"}]"},
         rows=[(1,)], aside=[(2, None, TOO_DEEP)]),
    Case("059-deepest-document", files={"a.json": b"[" + DEEP + b"]"}, rows=[], aside=[(1, None, TOO_DEEP)]),
    Case("060-beyond-2-to-the-53", **jsonl('{"n": 9007199254740993}\n'), rows=[(9007199254740993,)]),
    Case("060-beyond-2-to-the-53-among-fractions", **jsonl('{"n": 0.5}\n{"n": 9007199254740993}\n'),
         rows=[(0.5,)], aside=[(2, None, INEXACT)]),
    Case("060-beyond-2-to-the-53-before-fractions", **jsonl('{"n": 9007199254740993}\n{"n": 0.5}\n'),
         rows=[(0.5,)], aside=[(1, "n", "n: 9007199254740993 is no double")]),
    Case("060-identifiers-beside-large-floats", **jsonl('{"id": 9007199254740993, "v": 1e300}\n'),
         rows=[(9007199254740993, 1e300)]),
    Case("060-beyond-2-to-the-64", **jsonl('{"n": 1}\n{"n": 18446744073709551617}\n'), rows=[(1,)],
         aside=[(2, None, INEXACT)]),
    Case("060-beyond-2-to-the-64-declared", **jsonl('{"n": 18446744073709551617}\n'),
         options={"columns": {"n": "string"}}, rows=[], aside=[(1, None, "changed from string to number")]),
    Case("060-beyond-2-to-the-53-within", **jsonl('{"a": {"n": 0.5}}\n{"a": {"n": 9007199254740993}}\n'),
         rows=[({"n": 0.5},)], aside=[(2, None, "a: a float does not hold this number exactly")]),
    Case("061-five-thousand-digits", **jsonl('{"n": 1}\n{"n": ' + "9" * 5_000 + "}\n"), rows=[(1,)],
         aside=[(2, None, "digits|exactly")]),
    Case("062-no-number", **jsonl('{"n": NaN}\n{"n": 0.5}\n{"n": -Infinity}\n'), rows=[(0.5,)],
         aside=[(1, None, "NaN is not JSON"), (3, None, "-Infinity is not JSON")]),
    Case("063-a-key-twice", **jsonl('{"n": 1, "n": 2}\n{"n": 3}\n'), rows=[(3,)], aside=[(1, None, "specified twice")]),
    Case("063-a-key-twice-in-a-document", files={"a.json": b'[{"n": 1, "n": 2}, {"n": 3}]'}, rows=[(3,)],
         aside=[(1, None, "specified twice")]),
    Case("064-a-number-then-a-text", **jsonl('{"n": 1}\n{"n": "one"}\n{"n": 2}\n'), rows=[(1,), (2,)],
         aside=[(2, None, "changed from number to string")]),
    Case("065-a-number-an-object-a-list", **jsonl('{"n": 1}\n{"n": {}}\n{"n": []}\n{"n": 2}\n'), rows=[(1,), (2,)],
         aside=[(2, None, "changed from number to object"), (3, None, "changed from number to array")]),
    Case("066-the-last-line-cut", **jsonl('{"n": 1}\n{"n": 2'), rows=[(1,)], aside=[(2, None, "Missing a comma")]),
    Case("066-a-document-cut", files={"a.json": b'[{"n": 1}, {"n": 2'}, error=r"a\.json: this is not JSON: Malformed"),
    Case("067-a-document-too-large", files={"a.json": lambda: b"[" + b'{"n": 1},' * 8_000_000 + b"{}]"},
         error=r"a JSON document may have 64 MiB here \(write JSON lines: \*\.jsonl\)"),
    Case("068-mark-at-the-start", **jsonl('\ufeff{"n": 1}\n'), rows=[(1,)]),
    Case("068-comment-comma-and-quotes", **jsonl("{\"n\": 1}\n// two\n{\"n\": 2,}\n{'n': 3}\n"), rows=[(1,)],
         aside=[(2, None, ""), (3, None, "Missing a name"), (4, None, "Missing a name")]),
    Case("069-a-long-key", **jsonl('{"' + "k" * 1_000_000 + '": 1}\n'), error="has 1000000 characters"),
    Case("069-many-keys", files={"a.jsonl": lambda: json.dumps({f"k{n}": n for n in range(20_000)}).encode()},
         error=r"the records have more than 10,000 fields \(are the names of fields data\?"),
    Case("070-null-missing-and-empty", **jsonl('{"a": null, "b": ""}\n{"a": "x"}\n'), rows=[(None, ""), ("x", None)]),
    Case("070-late-fields-fractions-and-lists", files={"a.jsonl": late_fields},
         options={"select": ["n", "l", "more"]},
         rows=[*((float(n), [], None) for n in range(6_000)), (6000.5, [1], "yes")]),
    Case("070-dates-and-moments", **jsonl('{"d": "2013-01-01", "t": "2013-01-01T00:00:00+05:00"}\n'),
         rows=[(dt.date(2013, 1, 1), dt.datetime(2012, 12, 31, 19, tzinfo=dt.UTC))]),
    Case("070-dates-declared", **jsonl('{"d": "2013-01-01"}\n{"d": "2013-02-30"}\n'),
         options={"columns": {"d": "date"}}, rows=[(dt.date(2013, 1, 1),)],
         aside=[(2, "d", "d: 2013-02-30 is no date32")]),
    Case("070-values-that-are-no-records", files={"a.json": b'[{"n": 1}, 2, "three", null]'}, rows=[(1,)],
         aside=[(2, None, "changed from object"), (3, None, "changed from object"), (4, None, "")]),
    Case("070-null-after-a-record", **jsonl('{"n": "} null"}\n{"n": "b"} null\n null\n'), rows=[("} null",)],
         aside=[(2, None, "Extra data"), (3, None, "the record is null")]),
    Case("070-an-error-instead-of-records", files={"a.json": b'{"error": "no such day"}'},
         error="the document has object at its top, not a list of records"),
    Case("071-xml", files={"a.xml": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'},
         error="no format goes by this ending"),
    Case("071-xml-that-is-called-csv", files={"a.csv": b"<?xml version='1.0'?><a/>"}, error="this is an XML document"),
    Case("077-a-text-after-many-numbers", files={"a.xlsx": lambda: book(["n"], *([n] for n in range(1_500)), ["late"])},
         rows=[*((str(n),) for n in range(1_500)), ("late",)]),
    Case("077-a-text-after-numbers-declared", files={"a.xlsx": book(["n"], [1], ["late"], [2])},
         options={"columns": {"n": "integer"}}, rows=[(1,), (2,)], aside=[(3, "n", "n: late is no int64")]),
    Case("077-cells-in-error", files={"a.xlsx": book(["n", "w"], [1, "a"], [2, "#DIV/0!"], [3, "c"])},
         rows=[(1.0, "a"), (3.0, "c")], aside=[(3, None, "sheet 'Days': w: .*Error")]),
    Case("077-dates", files={"a.xlsx": book(["d"], [dt.datetime(2013, 1, 1, 5, 30)])},  # noqa: DTZ001 - of no zone
         rows=[(dt.datetime(2013, 1, 1, 5, 30),)]),  # noqa: DTZ001
    Case("077-two-columns-of-one-name", files={"a.xlsx": book(["n", "n"], [1, 2])},
         error="two columns of sheet 'Days' are named 'n'"),
    Case("077-names-that-end-in-numbers", files={"a.xlsx": book(["n", "n_1"], [1, 2])}, rows=[(1.0, 2.0)]),
    Case("077-a-column-without-a-name", files={"a.xlsx": book(["n", None], [1, 2])},
         error="column 2 of sheet 'Days' has no name"),
    Case("077-a-formula-without-its-value", files={"a.xlsx": book(["n", "w"], [1, "=1+1"])}, rows=[(1.0, None)]),
    Case("077-a-bomb-of-cells", files={"a.xlsx": bomb_of_cells}, error=r"an Excel file may hold 512 MiB here"),
    Case("077-cells-far-apart", files={"a.xlsx": far_apart}, ends="crashed",
         error=r"a\.xlsx: a native library crashed on this input \(SIGABRT\)"),
    Case("077-a-zip-that-is-called-excel", files={"a.xlsx": zipped(("a.csv", b"n\n1\n"))}, error="this is no Excel file"),
]  # fmt: skip
