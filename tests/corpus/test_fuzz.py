"""Bytes bent at random: a file is read as it was or refused where its format has checksums, and never ends the service.

``make fuzz N=1000`` bends more, from another seed each time; ROPEWALK_FUZZ_SEED repeats one.
"""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from pyarrow import csv as pacsv

from tests.corpus.bytes_cases import zipped

ROOT = Path(__file__).parents[2]
SEED = int(os.environ.get("ROPEWALK_FUZZ_SEED", "1"))
EACH = int(os.environ.get("ROPEWALK_FUZZ", "40"))
ROWS = 500
START = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
TABLE = pa.table(
    {
        "n": pa.array(range(ROWS), pa.int64()),
        "word": [f"word {n * 7919 % 503}" for n in range(ROWS)],
        "at": pa.array([START + dt.timedelta(minutes=n) for n in range(ROWS)], pa.timestamp("us", "UTC")),
    }
)  # fmt: skip


def as_csv() -> bytes:
    """The rows as CSV."""
    file = io.BytesIO()
    pacsv.write_csv(TABLE, file)
    return file.getvalue()


def as_jsonl() -> bytes:
    """The rows as JSON lines."""
    rows = ({**row, "at": row["at"].isoformat()} for row in TABLE.to_pylist())
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_parquet(**more: Any) -> bytes:
    """The rows as Parquet, its pages with checksums."""
    file = io.BytesIO()
    pq.write_table(TABLE, file, write_page_checksum=True, row_group_size=200, **more)
    return file.getvalue()


def as_arrow(opened: Callable[..., Any]) -> bytes:
    """The rows as a file or a stream of Arrow."""
    file = io.BytesIO()
    with opened(file, TABLE.schema) as writer:
        writer.write_table(TABLE, 200)
    return file.getvalue()


def as_excel() -> bytes:
    """The rows as an Excel file."""
    book, file = openpyxl.Workbook(), io.BytesIO()
    sheet: Any = book.active
    sheet.append(TABLE.column_names)
    for row in TABLE.to_pylist():
        sheet.append([row["n"], row["word"], row["at"].replace(tzinfo=None)])
    book.save(file)
    return file.getvalue()


def pages_of(data: bytes) -> int:
    """How many bytes of a Parquet file come before its footer, which has no checksum."""
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


CHECKED: dict[str, tuple[Callable[[], bytes], Callable[[bytes], int]]] = {
    "pages.parquet": (as_parquet, pages_of),
    "csv.gz": (lambda: gzip.compress(as_csv(), mtime=0), len),
    "csv.zst": (lambda: zstandard.ZstdCompressor(write_checksum=True).compress(as_csv()), len),
    "csv.zip": (lambda: zipped(("a.csv", as_csv())), len),
    "xlsx": (as_excel, len),
}
UNCHECKED: dict[str, tuple[Callable[[], bytes], Callable[[bytes], int]]] = {
    "csv": (as_csv, len),
    "jsonl": (as_jsonl, len),
    "footer.parquet": (lambda: as_parquet(compression="none"), len),
    "file.arrow": (lambda: as_arrow(pa.ipc.new_file), len),
    "stream.arrow": (lambda: as_arrow(pa.ipc.new_stream), len),
}
CLUMSY = {"unexpected", "os"}


def outcomes(folder: Path, ending: str, data: bytes, end: int) -> list[dict[str, Any]]:
    """How the whole file and each bent one ended; in a process that is started again when it dies."""
    from tests.corpus.fuzzing import bent

    chance = random.Random(f"{SEED} {ending}")  # noqa: S311 - it has to be the same again
    (folder / "bent").mkdir()
    for number, one in enumerate([data, *(bent(data, chance, end) for _ in range(EACH))]):
        (folder / "bent" / f"{number:06}.{ending}").write_bytes(one)
    found: list[dict[str, Any]] = []
    while len(found) < EACH + 1:
        command = [sys.executable, "-m", "tests.corpus.fuzzing", str(folder), str(len(found))]
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'include'}"}
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        found += [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode:  # a crash, or no memory even for its last words
            found.append({"code": "died", "said": f"{done.returncode}: {done.stderr[-300:]}"})
    return found


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("ending", [*CHECKED, *UNCHECKED])
def test_bent_bytes(ending: str, tmp_path: Path) -> None:
    made, end = {**CHECKED, **UNCHECKED}[ending]
    data = made()
    whole, *others = outcomes(tmp_path, ending, data, end(data))
    assert whole.get("rows") == ROWS, whole
    for number, one in enumerate(others, 1):
        what = f"seed {SEED}, {ending}, file {number}: {one}"
        if "code" in one:
            assert one["code"] not in CLUMSY, what
        else:
            assert one["explained"], what
            assert ending in UNCHECKED or one["digest"] == whole["digest"], what
