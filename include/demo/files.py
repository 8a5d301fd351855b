"""The flights as an airport would hand them over: one CSV file per month, ``time_hour`` in UTC."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from demo.package import NULL, data_file, package_version

if TYPE_CHECKING:
    import pyarrow as pa

LAYOUT = "1"  # of the files: rises when they change
MONTHS = range(1, 13)
STAMP = ".version"


def prepare(data: Path) -> bool:
    """Writes the months' files, unless they are there in the present version; True if it did."""
    folder, version = data / "flights", f"{package_version()}/{LAYOUT}"
    stamp = folder / STAMP
    whole = all((folder / _name(month)).exists() for month in MONTHS)
    if whole and stamp.exists() and stamp.read_text(encoding="utf-8") == version:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    _write_months(folder)
    stamp.write_text(version, encoding="utf-8")
    return True


def flights() -> pa.Table:
    """All flights, every value as the text that the package has, or null."""
    import pyarrow as pa
    from pyarrow import csv

    with zipfile.ZipFile(data_file("flights.csv.zip")) as archive:
        (name,) = archive.namelist()
        text = pa.py_buffer(archive.read(name))
    header = bytes(text.slice(0, 4096)).split(b"\n", 1)[0].decode()
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(header.strip().split(","), pa.string()),
        null_values=[NULL],
        strings_can_be_null=True,
    )
    return csv.read_csv(pa.BufferReader(text), convert_options=convert)


def _write_months(folder: Path) -> None:
    import pyarrow.compute as pc

    table = flights()
    for month in MONTHS:
        _write(table.filter(pc.equal(table["month"], str(month))), folder / _name(month))


def _write(table: pa.Table, path: Path) -> None:
    """A file that is there whole, or not at all."""
    from pyarrow import csv

    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".csv")
    with os.fdopen(handle, "wb") as out:
        plain = csv.WriteOptions(quoting_style="none", quoting_header="none")
        csv.write_csv(table, out, plain)
    Path(draft).chmod(0o644)
    Path(draft).replace(path)


def _name(month: int) -> str:
    return f"2013-{month:02}.csv"
