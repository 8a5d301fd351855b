"""How large and how often the benchmarks run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console


@dataclass(frozen=True)
class Options:
    """``rows`` of the table that (b), (c) and (h) move; ``folder`` is a temporary one for all state."""

    console: Console
    folder: Path
    rows: int = 1_000_000
    rounds: int = 3
