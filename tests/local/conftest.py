"""Fixtures of the local stack: an installation in its own folder, removed afterwards."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from ropewalk.local.down import down
from ropewalk.local.free_ports import free_port
from ropewalk.local.home import Home
from ropewalk.local.installation import Installation
from ropewalk.local.remove import remove
from ropewalk.local.up import up


@pytest.fixture
def console() -> Console:
    """A console that keeps what is shown: ``console.file.getvalue()``."""
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose Postgres runs, for tests that change nothing in it."""
    console = Console(file=io.StringIO())
    home = Home(tmp_path_factory.mktemp("running"), port_base=max(20000, free_port() - 1000))
    yield up(home, console, ["postgres"])
    down(home, console)
    remove(home)


@pytest.fixture
def home(tmp_path: Path, console: Console) -> Iterator[Home]:
    """A home for an installation; what runs in it is stopped, and its state removed."""
    home = Home(tmp_path / "home", port_base=max(20000, free_port() - 1000))
    yield home
    down(home, console)
    remove(home)
