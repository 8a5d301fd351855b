"""The benchmark of many clients: all of them are answered."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bench import requests
from bench.options import Options


def test_every_client_is_answered(tmp_path: Path) -> None:
    figures = list(requests.run(Options(Console(quiet=True), tmp_path), seconds=1))

    assert [figure.unit for figure in figures] == ["/s", "ms", "ms"]
    count = int(figures[0].note.partition(" ")[0].replace(",", ""))
    assert count >= requests.CLIENTS * 2
    assert 0 < figures[1].ours <= figures[2].ours
