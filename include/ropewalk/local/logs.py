"""``make logs``: the lines of every service's log as they come, each behind its service's name."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ropewalk.local.home import Home

COLOURS = (
    "cyan",
    "green",
    "yellow",
    "magenta",
    "blue",
    "bright_cyan",
    "bright_green",
    "bright_magenta",
)


@dataclass
class Tail:
    """A log file and how far it has been read."""

    path: Path
    offset: int = 0

    @classmethod
    def from_end(cls, path: Path, lines: int) -> Tail:
        """A tail that starts at the last so many lines of the file."""
        kept = path.read_bytes().splitlines(keepends=True)[-lines:] if lines else []
        return cls(path, path.stat().st_size - sum(map(len, kept)))

    def read(self) -> list[str]:
        """The whole lines that have come since; a file that has become shorter was put aside, and
        is read from its start.
        """
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self.offset:
            self.offset = 0
        if size == self.offset:
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            text, end, _ = file.read().rpartition(b"\n")
        self.offset += len(text) + len(end)
        return text.decode(errors="replace").split("\n") if end else []


def show(home: Home, console: Console, names: Collection[str], *, lines: int, follow: bool) -> None:
    """Shows the last lines of the named services' logs (of all where none is named); with
    ``follow`` what comes, too.
    """
    tails: dict[Path, Tail] = {}
    while True:
        for path in sorted(_paths(home, names)):
            tail = tails.setdefault(path, Tail.from_end(path, lines))
            for line in tail.read():
                console.print(
                    Text(f"{path.stem:<21} ", style=_colour(path.stem)) + Text.from_ansi(line),
                    soft_wrap=True,
                )
        if not follow:
            return
        time.sleep(0.2)


def _paths(home: Home, names: Collection[str]) -> Iterator[Path]:
    folder = home.path / "logs"
    return (path for path in folder.glob("*.log") if not names or path.stem in names)


def _colour(name: str) -> str:
    return COLOURS[sum(name.encode()) % len(COLOURS)]
