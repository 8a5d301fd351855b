"""The benchmark of tokens and TLS: the table arrives whole each way."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bench import secure
from bench.options import Options


def test_the_table_arrives_each_way(tmp_path: Path) -> None:
    figures = list(secure.run(Options(Console(quiet=True), tmp_path, rows=1000, rounds=1)))

    assert [(figure.what, figure.against) for figure in figures] == [
        ("with a token", "with neither"),
        ("with a token and mutual TLS", "with neither"),
    ]
