"""The loading benchmark, with a small table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bench import load
from bench.options import Options


def test_the_table_is_loaded_each_way(tmp_path: Path) -> None:
    figures = list(load.run(Options(Console(quiet=True), tmp_path, rows=1000, rounds=1)))

    assert [(figure.what, figure.against) for figure in figures] == [
        ("store", "psql \\copy, binary"),
        ("store", "DataFrame.to_sql"),
        ("its sink, here", "its encoder alone"),
    ]
