"""CSV: rows that are none, headers that are none, values that are not what they seem."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

from tests.corpus.case import Case, csv

D = decimal.Decimal
UTC = dt.UTC
WIDE = b"x" * 2_000  # a line of this is one of 4,000 that fill the first block


def declared(kind: str, *values: str) -> dict[str, Any]:
    """One column of a declared type."""
    text = "v\n" + "".join(f"{value}\n" for value in values)
    return csv(text, options={"columns": {"v": kind}, "delimiter": ";"})


def found(*values: str) -> dict[str, Any]:
    """One column whose type is found."""
    return csv("v\n" + "".join(f"{value}\n" for value in values), options={"delimiter": ";"})


def late(value: bytes) -> bytes:
    """A column of numbers whose last is another, in a later block than the type was found in."""
    return b"n,w\n" + b"".join(b"%d,%s\n" % (n, WIDE) for n in range(5_000)) + value + b",z\n"


def refused(line: int, value: str, kind: str) -> tuple[int, str, str]:
    """What is said of a value."""
    return (line, "v", f"v: {value} is no {kind}")


CASES = [
    Case("027-row-too-short", **csv("a,b\n1,2\n3\n4,5\n"), rows=[(1, 2), (4, 5)],
         aside=[(3, None, "1 values, where there are 2 columns")]),
    Case("028-row-too-long", **csv("a,b\n1,2\n3,4,5\n"), rows=[(1, 2)],
         aside=[(3, None, "3 values, where there are 2 columns")]),
    Case("029-quote-not-closed", **csv('a,b\n1,"x\n2,y\n3,z\n'), rows=[(2, "y"), (3, "z")],
         aside=[(2, None, "a quote is not closed")]),
    Case("029-quote-not-closed-over-lines", **csv('a,b\n0,w\n1,"x\n2,y\n', options={"multiline": True}),
         error=r"a\.csv:3: a quote is not closed"),
    Case("029-quote-not-closed-after-one-that-is-none", **csv('a,b\nx"y,"z\n2,ok\n3,"x"\n'),
         rows=[(2, "ok"), (3, "x")],
         aside=[(2, None, "a quote is not doubled: unexpected end of data")]),
    Case("030-quotes-doubled", **csv('a,b\n1,"say ""hi"", you"\n'), rows=[(1, 'say "hi", you')]),
    Case("030-quotes-within", **csv('a,b\n1,x"y"z\n'), rows=[(1, 'x"y"z')]),
    Case("030-quotes-by-backslash", **csv('a,b\n1,"a\\"b\\"c"\n2,d\n'), rows=[(2, "d")],
         aside=[(2, None, "a quote is not doubled: ',' expected")]),
    Case("030-text-after-a-quote", **csv('a,b\n1,"a"b\n2,d\n'), rows=[(2, "d")],
         aside=[(2, None, "a quote is not doubled: ',' expected")]),
    *(Case(f"031-parted-by-{name}", **csv(f"a{mark}b\n1{mark}2\n"),
           error=r"the header is one column; '.+' seems to part its values \(add delimiter: ")
      for name, mark in (("semicolons", ";"), ("tabs", "\t"), ("bars", "|"))),
    Case("032-two-columns-of-one-name", **csv("a,b,a\n1,2,3\n"), error=r"a\.csv:1: two columns are named 'a'"),
    Case("033-column-without-a-name", **csv("a,,c\n1,2,3\n"), error=r"a\.csv:1: column 2 has no name"),
    Case("034-names-that-differ-in-case", **csv("Id,ID\n1,2\n"),
         error=r"the columns 'Id' and 'ID' differ in nothing that SQL tells apart \(read one of them: select\)"),
    Case("034-names-that-differ-in-case-one-read", **csv("Id,ID\n1,2\n", options={"select": ["ID"]}), rows=[(2,)]),
    Case("035-comma-quote-and-emoji-in-a-name", **csv('"a,""b""",😀\n1,2\n'), rows=[(1, 2)],
         types={'a,"b"': "int64", "😀": "int64"}),
    Case("035-newline-in-a-name", **csv('"a\nb",c\n1,2\n', options={"multiline": True}),
         error=r"has the character U\+000A"),
    Case("035-newline-in-a-name-not-declared", **csv('"a\nb",c\n1,2\n'),
         error=r"a\.csv:1: the header is no line of CSV: unexpected end of data"),
    Case("035-long-name", **csv("a" * 10_000 + ",b\n1,2\n"), error="has 10000 characters"),
    Case("036-names-that-mean-something-elsewhere", **csv("__class__,constructor,select\n1,2,3\n"), rows=[(1, 2, 3)]),
    Case("037-no-header", **csv("1,x\n2,y\n", options={"columns": {"n": "integer", "w": "string"}}),
         error=r"a\.csv has no column 'n'"),
    Case("038-zeros-in-front-found", **found("00501", "10001"), rows=[("00501",), ("10001",)]),
    Case("038-plus-in-front-found", **found("+4930901820", "+4930901821"), rows=[("+4930901820",), ("+4930901821",)]),
    Case("038-zeros-in-front-declared-a-number", **declared("integer", "00501"), rows=[(501,)]),
    Case("038-zeros-in-front-later", files={"a.csv": lambda: late(b"00501")}, options={"select": ["n"]},
         rows=[(n,) for n in range(5_000)], aside=[(5_002, "n", "n: 00501 is no int64")]),
    Case("038-hexadecimal", **found("0x1F", "0x20"), rows=[("0x1F",), ("0x20",)]),
    Case("038-hexadecimal-declared", **declared("integer", "0x1F", "1"), rows=[(1,)],
         aside=[refused(2, "0x1F", "int64")]),
    Case("039-type-changes-late", files={"a.csv": lambda: late(b"many")}, options={"select": ["n"]},
         rows=[(n,) for n in range(5_000)], aside=[(5_002, "n", "n: many is no int64")]),
    Case("040-beyond-64-bits-found", **found("9223372036854775808", "1"), rows=[("9223372036854775808",), ("1",)]),
    Case("040-beyond-64-bits-declared", **declared("integer", "9223372036854775807", "9223372036854775808"),
         rows=[(2**63 - 1,)], aside=[refused(3, "9223372036854775808", "int64")]),
    Case("040-beyond-64-bits-later", files={"a.csv": lambda: late(b"9223372036854775808")},
         options={"select": ["n"]}, rows=[(n,) for n in range(5_000)],
         aside=[(5_002, "n", "n: 9223372036854775808 is no int64")]),
    Case("040-whole-numbers-that-a-float-lacks", **found("9007199254740993", "0.5"),
         rows=[("9007199254740993",), ("0.5",)]),
    Case("041-beyond-a-float", **declared("float", "1e400", "-0.0", "5e-324", "1.5"),
         rows=[(-0.0,), (5e-324,), (1.5,)], aside=[refused(2, "1e400", "double")]),
    Case("041-beyond-a-float-found", **found("1e400", "1.5"), rows=[("1e400",), ("1.5",)]),
    Case("042-words-that-mean-nothing-elsewhere", **csv("v,n\nNULL,1\nNA,2\nNone,3\n,4\n"),
         rows=[("NULL", 1), ("NA", 2), ("None", 3), (None, 4)]),
    Case("042-words-that-mean-nothing-here", **csv("v,n\nNA,1\n,2\n", options={"nulls": ["NA"]}),
         rows=[(None, 1), ("", 2)]),
    Case("042-no-numbers-and-infinities", **declared("float", "nan", "-inf", "Infinity"),
         rows=[(float("nan"),), (float("-inf"),), (float("inf"),)]),
    Case("043-blank-lines", **csv("a,b\n1,2\n\n3,4\n\r\n"), rows=[(1, 2), (3, 4)], dropped={"blank line": 2}),
    Case("044-numbers-of-other-countries", **declared("float", "1,5", "1.000,00", "$5", "12%", "(3)", "1 000", "7"),
         rows=[(7.0,)],
         aside=[refused(line, text, "double") for line, text in
                enumerate(("1,5", "1.000,00", r"\$5", "12%", r"\(3\)", "1 000"), 2)]),
    Case("045-decimals", **declared("decimal(38,2)", "0.1", "123456789012345678901234567890123456.78", "0.125"),
         rows=[(D("0.10"),), (D("123456789012345678901234567890123456.78"),)],
         aside=[refused(4, "0.125", r"decimal128\(38, 2\)")]),
    Case("045-many-digits-found", **found("0.1234567890123456789", "1.5"), rows=[("0.1234567890123456789",), ("1.5",)]),
    Case("046-booleans", **declared("boolean", "true", "FALSE", "0", "1", "yes", "Y"),
         rows=[(True,), (False,), (False,), (True,)],
         aside=[refused(6, "yes", "bool"), refused(7, "Y", "bool")]),
    Case("047-dates", **declared("date", "2026-02-28", "2026-02-30", "0000-00-00", "1900-02-29", "01/02/03"),
         rows=[(dt.date(2026, 2, 28),)],
         aside=[refused(line, text, "date32") for line, text in
                enumerate(("2026-02-30", "0000-00-00", "1900-02-29", "01/02/03"), 3)]),
    Case("048-time-without-a-zone-is-utc", **declared("timestamp", "2026-03-08 02:30:00"),
         rows=[(dt.datetime(2026, 3, 8, 2, 30, tzinfo=UTC),)]),
    Case("050-offsets", **declared("timestamp", "2026-01-01T00:00:00+14:00", "2026-01-01T00:00:00+05:45",
                                   "2026-01-01T00:00:00Z", "2026-01-01T00:00:00-12", "2026-01-01 00:00:00 EST"),
         rows=[(dt.datetime(2025, 12, 31, 10, tzinfo=UTC),), (dt.datetime(2025, 12, 31, 18, 15, tzinfo=UTC),),
               (dt.datetime(2026, 1, 1, tzinfo=UTC),), (dt.datetime(2026, 1, 1, 12, tzinfo=UTC),)],
         aside=[refused(6, "2026-01-01 00:00:00 EST", "timestamp")]),
    Case("051-leap-second-and-hour-24", **declared("timestamp", "2016-12-31T23:59:60Z", "2016-12-31T24:00:00Z",
                                                   "2016-12-31T23:59:59Z"),
         rows=[(dt.datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC),)],
         aside=[refused(2, "2016-12-31T23:59:60Z", "timestamp"), refused(3, "2016-12-31T24:00:00Z", "timestamp")]),
    Case("051-times-of-day", **declared("time", "12:30", "24:00:00", "12:30:01.5"),
         rows=[(dt.time(12, 30),), (dt.time(12, 30, 1, 500_000),)], aside=[refused(3, "24:00:00", "time64")]),
    Case("052-seconds-since-1970", **declared("timestamp", "1356998400", "2013-01-01"),
         rows=[(dt.datetime(2013, 1, 1, tzinfo=UTC),)], aside=[refused(2, "1356998400", "timestamp")]),
    Case("053-moments-out-of-range", **declared("timestamp", "1600-01-01", "2300-01-01", "300000-01-01", "infinity",
                                                "-0044-03-15"),
         rows=[(dt.datetime(1600, 1, 1, tzinfo=UTC),), (dt.datetime(2300, 1, 1, tzinfo=UTC),)],
         aside=[refused(4, "300000-01-01", "timestamp"), refused(5, "infinity", "timestamp"),
                refused(6, "-0044-03-15", "timestamp")]),
    Case("053-finer-than-microseconds", **declared("timestamp", "2013-01-01T00:00:00.123456789Z"), rows=[],
         aside=[refused(2, "2013-01-01T00:00:00.123456789Z", "timestamp")]),
    Case("054-line-without-end", files={"a.csv": lambda: b"a\n1\n" + b"x" * (66 << 20)},
         error=r"a\.csv:3: line 3 is longer than 64 MiB"),
    Case("054-header-without-end", files={"a.csv": lambda: b"x" * (5 << 20)},
         error=r"a\.csv:1: the first line is longer than 4 MiB"),
    Case("055-two-hundred-thousand-columns", files={"a.csv": lambda: b",".join(b"c%d" % n for n in range(200_000)) + b"\n"},
         error="200000 columns; at most 10000 are read"),
    Case("056-delimiters-alone", **csv(",,,\n,,,\n"), error="column 1 has no name"),
    Case("057-totals-at-the-end", **csv("a,b\nx,1\nTOTAL,,1\n", options={"columns": {"b": "integer"}}),
         rows=[("x", 1)], aside=[(3, None, "3 values, where there are 2 columns")]),
    Case("057-comments", **csv("a,b\n# made by hand\nx,1\n"), rows=[("x", 1)],
         aside=[(2, None, "1 values, where there are 2 columns")]),
    Case("058-formulas", **csv("v\n=1+1\n@SUM(A1)\n"), rows=[("=1+1",), ("@SUM(A1)",)]),
    Case("087-another-order-of-columns", files={"a.csv": b"a,b\n1,x\n", "b.csv": b"b,a\ny,2\n"},
         rows=[(1, "x"), (2, "y")]),
    Case("087-a-column-more", files={"a.csv": b"a\n1\n", "b.csv": b"a,b\n2,y\n"},
         error=r"b\.csv has a column 'b', which the files before it lack \(select: names the columns"),
    Case("087-a-column-more-that-is-not-wanted", files={"a.csv": b"a\n1\n", "b.csv": b"a,b\n2,y\n"},
         options={"select": ["a"]}, rows=[(1,), (2,)]),
    Case("087-a-column-less", files={"a.csv": b"a,b\n1,x\n", "b.csv": b"a\n2\n"}, error=r"b\.csv has no column 'b'"),
    Case("087-another-type", files={"a.csv": b"a\n1\n", "b.csv": b"a\n2\n2.5\n"}, rows=[(1,), (2,)],
         aside=[(3, "a", r"a: 2\.5 is no int64")]),
]  # fmt: skip
