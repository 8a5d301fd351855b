"""Bytes, encodings and packing."""

from __future__ import annotations

import gzip
import io
import stat
import warnings
import zipfile
from typing import Any

import zstandard

from tests.corpus.case import Case, csv, jsonl

PLAIN = "n,w\n1,ä\n2,b\n"
ROWS: list[tuple[Any, ...]] = [(1, "ä"), (2, "b")]
MANY = b"n\n" + b"".join(b"%d\n" % n for n in range(50_000))
GZ, ZST = gzip.compress(MANY), zstandard.compress(MANY)
COUNT: list[tuple[Any, ...]] = [(n,) for n in range(50_000)]
DAMAGED = r"the file is damaged: "
TIMES = "the file unpacks to more than 200 times its size"


def zipped(
    *members: tuple[str, bytes], link: bool = False, packed: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """A zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packed) as archive, warnings.catch_warnings(action="ignore"):
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = packed
            if link:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, data)
    return file.getvalue()


def encrypted() -> bytes:
    """A zip archive whose member says that it is encrypted."""
    data = bytearray(zipped(("a.csv", PLAIN.encode())))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def flipped(data: bytes, at: int) -> bytes:
    """The data with one bit of one byte the other way round."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def much() -> bytes:
    """80 MiB that can be packed into 80 KiB or less."""
    return b"n\n" + (b"x" * 1023 + b"\n") * 80 * 1024


def of_another_size(data: bytes, size: int) -> bytes:
    """A zip archive of one member that says of itself, at both places, that it unpacks to so many bytes."""
    changed = bytearray(data)
    changed[22:26] = size.to_bytes(4, "little")
    at = data.index(b"PK\x01\x02") + 24
    changed[at : at + 4] = size.to_bytes(4, "little")
    return bytes(changed)


CASES = [
    Case("001-bom-of-utf-8", **csv("\ufeff" + PLAIN), rows=ROWS),
    Case("002-utf-16-le-with-bom", **csv(b"\xff\xfe" + PLAIN.encode("utf-16-le")), rows=ROWS),
    Case("002-utf-16-be-with-bom", **csv(b"\xfe\xff" + PLAIN.encode("utf-16-be")), rows=ROWS),
    Case("002-utf-32-with-bom", **csv(PLAIN.encode("utf-32")), rows=ROWS),
    Case("002-utf-16-cut-within-a-character", **csv(PLAIN.encode("utf-16")[:-1]),
         error="the bytes are not utf-16-le: truncated data"),
    Case("002-json-in-utf-16", **jsonl('{"w": "ä"}\n'.encode("utf-16")), rows=[("ä",)]),
    Case("003-utf-16-without-bom", **csv(PLAIN.encode("utf-16-le")),
         error=r"a\.csv:1: the header has zero bytes \(is it UTF-16\? then say encoding: utf-16-le\)"),
    Case("003-utf-16-declared", **csv(PLAIN.encode("utf-16-le"), options={"encoding": "utf-16-le"}), rows=ROWS),
    Case("004-latin-1-in-utf-8", **csv(PLAIN.encode("latin-1")), rows=[(2, "b")],
         aside=[(2, None, "the bytes are not utf-8")]),
    Case("004-latin-1-declared", **csv(PLAIN.encode("latin-1"), options={"encoding": "latin-1"}), rows=ROWS),
    Case("004-latin-1-in-the-header", **csv("n,wä\n1,2\n".encode("latin-1")),
         error=r"a\.csv:1: the header is not utf-8: .* \(encoding: latin-1 or cp1252 are others\)"),
    Case("004-latin-1-in-json", **jsonl(b'{"w": "a"}\n{"w": "\xe4"}\n'), rows=[("a",)],
         aside=[(2, None, "the bytes are not utf-8")]),
    Case("005-two-encodings-in-a-file", **csv(b"n,w\n1,\xc3\xa4\n2,\xe4\n3,b\n"), rows=[(1, "ä"), (3, "b")],
         aside=[(3, None, "the bytes are not utf-8")]),
    Case("006-zero-byte-in-a-text", **csv(b"n,w\n1,a\0b\n2,b\n"), rows=[(2, "b")],
         aside=[(2, "w", r"w: a\\0b has a zero byte")]),
    Case("007-half-a-surrogate-pair", **jsonl('{"w": "\\ud800"}\n{"w": "\\ud83d\\ude00"}\n'), rows=[("😀",)],
         aside=[(1, None, "surrogate pair")]),
    Case("007-half-a-surrogate-pair-in-a-document",
         files={"a.json": b'[{"w": "a"}, {"w": "\\udc00"}, {"w": "b"}]'}, rows=[("a",), ("b",)],
         aside=[(2, None, "surrogate")]),
    Case("008-zero-character-in-json", **jsonl('{"w": "a\\u0000b"}\n{"w": "c"}\n'), rows=[("c",)],
         aside=[(1, "w", r"has a zero byte")]),
    Case("009-overlong-utf-8", **csv(b"w\n\xc0\xaf\nb\n"), rows=[("b",)],
         aside=[(2, None, "the bytes are not utf-8")]),
    Case("009-private-use-and-noncharacters", **csv("w\n\ue000\ufffe\n"), rows=[("\ue000\ufffe",)]),
    Case("010-composed-and-decomposed", **csv("w\n\u00e4\na\u0308\n"), rows=[("\u00e4",), ("a\u0308",)]),
    Case("010-names-that-are-the-same-composed", **csv("\u00e4,a\u0308\n1,2\n"),
         error="differ in nothing that SQL tells apart"),
    Case("011-marks-of-direction-in-a-text", **csv("w\na\u202eb\u200d\n"), rows=[("a\u202eb\u200d",)]),
    Case("011-marks-of-direction-in-a-name", **csv("n\u202e,w\n1,2\n"), error=r"has the character U\+202E"),
    Case("012-carriage-returns-alone", **csv("n,w\r1,ä\r2,b\r"), rows=ROWS),
    Case("012-carriage-returns-among-newlines", **csv("n,w\r1,ä\r\n2,b\n"), rows=ROWS),
    Case("013-both-line-ends", **csv("n,w\r\n1,ä\n2,b\r\n"), rows=ROWS),
    Case("013-line-ends-in-quotes", **csv('n,w\n1,"a\r\n\n,b"\n2,c\n', options={"multiline": True}),
         rows=[(1, "a\r\n\n,b"), (2, "c")]),
    Case("013-line-ends-in-quotes-not-declared", **csv('n,w\n1,"a\nb"\n2,c\n'), rows=[(2, "c")],
         aside=[(2, None, "a quote is not closed"), (3, None, "a quote is not closed")]),
    Case("014-no-newline-at-the-end", **csv(PLAIN.rstrip("\n")), rows=ROWS),
    *(Case(f"015-gzip-cut-{at}", files={"a.csv.gz": GZ[:at]}, error=DAMAGED + "Truncated")
      for at in (len(GZ) // 2, -8, -4)),
    *(Case(f"015-zstd-cut-{at}", files={"a.csv.zst": ZST[:at]}, error=DAMAGED + "Truncated")
      for at in (len(ZST) // 2, -1)),
    Case("016-gzip-with-another-checksum", files={"a.csv.gz": flipped(GZ, -8)},
         error=DAMAGED + ".*incorrect data check"),
    Case("016-gzip-with-another-length", files={"a.csv.gz": flipped(GZ, -1)},
         error=DAMAGED + ".*incorrect length check"),
    Case("016-zip-with-another-checksum", files={"a.csv.zip": flipped(zipped(("a.csv", MANY), packed=zipfile.ZIP_STORED), 500)},
         error=DAMAGED + "Bad CRC-32"),
    Case("017-gzip-of-two-members", files={"a.csv.gz": GZ + gzip.compress(b"50000\n")}, rows=[*COUNT, (50_000,)]),
    Case("017-zstd-of-two-frames", files={"a.csv.zst": ZST + zstandard.compress(b"50000\n")},
         rows=[*COUNT, (50_000,)]),
    Case("018-gzip-and-more", files={"a.csv.gz": GZ + b"more"}, error=DAMAGED),
    Case("019-bomb", files={"a.csv.gz": lambda: gzip.compress(much())}, error=TIMES),
    Case("019-bomb-of-zip", files={"a.zip": lambda: zipped(("a.csv", much()))}, error=TIMES),
    Case("019-bomb-of-zstd", files={"a.csv.zst": lambda: zstandard.compress(much())}, error=TIMES),
    Case("019-zip-that-says-it-is-small", files={"a.zip": lambda: of_another_size(zipped(("a.csv", much())), 100)},
         error=DAMAGED),
    Case("019-zip-that-says-it-is-large", files={"a.zip": of_another_size(zipped(("a.csv", MANY)), 0xFFFF_FFF0)},
         rows=COUNT),
    Case("019-zip-in-a-zip", files={"a.zip": zipped(("b.zip", zipped(("a.csv", MANY))))},
         error=r"a\.zip/b\.zip: no format goes by this ending"),
    Case("019-zip-in-a-zip-as-csv", files={"a.zip": zipped(("b.zip", zipped(("a.csv", MANY))))},
         options={"format": "csv"}, error="this is a zip archive or an Excel file, not CSV"),
    Case("019-too-many-members", files={"a.zip": lambda: zipped(*((f"{n}.csv", b"n\n1\n") for n in range(1_001)))},
         error="an archive may have 1000 files, and this has 1001"),
    Case("020-two-members-of-one-name", files={"a.zip": zipped(("a.csv", b"n\n1\n"), ("a.csv", b"n\n2\n"))},
         error=r"a\.zip/a\.csv: two files of the archive have this name"),
    Case("020-a-member-that-climbs", files={"a.zip": zipped(("../../x.csv", PLAIN.encode()))}, rows=ROWS),
    Case("020-a-member-that-is-a-link", files={"a.zip": zipped(("a.csv", b"/etc/passwd"), link=True)},
         error="this is a link and no file"),
    Case("020-an-encrypted-member", files={"a.zip": encrypted()}, error="the file is encrypted"),
    Case("020-what-macos-leaves", files={"a.zip": zipped(("a.csv", PLAIN.encode()), ("__MACOSX/._a.csv", b"\0\5"))},
         rows=ROWS),
    Case("021-zip-that-is-called-csv", files={"a.csv": zipped(("a.csv", MANY))}, error="a zip archive or an Excel"),
    Case("021-gzip-that-is-called-csv", files={"a.csv": GZ}, error=r"this is packed by gzip, not CSV"),
    Case("021-page-that-is-called-csv", **csv("\n <!DOCTYPE html><title>Log in</title>"),
         error=r"a\.csv: this is an HTML page, not CSV \(is it the right file\?"),
    Case("021-page-that-is-called-json", files={"a.json": b"<html>"}, error="this is an HTML page, not JSON"),
    Case("021-csv-that-is-called-parquet", files={"a.parquet": PLAIN.encode()}, error=DAMAGED + "Parquet magic"),
    Case("021-csv-that-is-called-arrow", files={"a.arrow": PLAIN.encode()}, error=DAMAGED),
    Case("021-csv-that-is-called-gzip", files={"a.csv.gz": PLAIN.encode()}, error=DAMAGED),
    Case("021-csv-that-is-called-excel", files={"a.xlsx": PLAIN.encode()}, error="this is no Excel file"),
    Case("022-nothing", **csv(""), error=r"a\.csv:1: the file is empty: it has no header"),
    Case("022-nothing-in-zip", files={"a.zip": zipped(("a/", b""))}, error=r"a\.zip: the archive holds no file"),
    Case("022-nothing-in-json", **jsonl(""), rows=[]),
    Case("022-nothing-in-gzip", files={"a.csv.gz": gzip.compress(b"")}, error="the file is empty"),
    Case("022-nothing-where-gzip-should-be", files={"a.csv.gz": b""}, error="the file is empty"),
    Case("023-header-alone", **csv("n,w\n", options={"columns": {"n": "integer"}}), rows=[],
         types={"n": "int64", "w": "string"}),
]  # fmt: skip
