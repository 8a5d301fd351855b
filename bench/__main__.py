"""``python -m bench [a b c d e f g h i]``: runs the benchmarks, all or the named ones, and prints their tables."""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path

from rich.console import Console

from bench.installation import BESIDE, airflow_runs
from bench.options import Options
from bench.table import show

BENCHMARKS = {
    "a": "year", "b": "transfer", "c": "load", "d": "trigger", "e": "memory", "f": "backfill",
    "g": "protocol", "h": "secure", "i": "requests",
}  # fmt: skip


def main() -> None:
    """Runs what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="a|b|c|d|e|f|g|h|i")
    parser.add_argument("--rows", type=int, default=Options.rows, help="of the table in b, c and h")
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    chosen = parser.parse_args()
    console = Console()
    if airflow_runs():
        console.print(f"[dim]{BESIDE}[/]\n")
    for name in chosen.names or BENCHMARKS:
        module = importlib.import_module(f"bench.{BENCHMARKS[name]}")
        with tempfile.TemporaryDirectory(prefix="ropewalk-bench-") as folder:
            options = Options(console, Path(folder), chosen.rows, chosen.rounds)
            show(console, module.TITLE, module.run(options))


if __name__ == "__main__":
    main()
