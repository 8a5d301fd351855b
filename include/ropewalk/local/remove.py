"""The last part of ``make clean``: removes what an installation has made, and nothing beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from ropewalk.contracts.errors import ConfigError
from ropewalk.local import ports, processes, secrets
from ropewalk.local.home import Home

FOLDERS = ("airflow", "data", "lineage", "logs", "postgres", "run", "scratch", "secrets", "store")
FILES = ("endpoints.json", "lock", "pgpass", ports.FILE, secrets.FILE)


def remove(home: Home) -> None:
    """Removes the state of an installation that has been stopped; its folder too, if nothing else
    is in it.
    """
    if running := processes.recorded(home):
        raise ConfigError(f"{', '.join(running)} may still run", hint="make down")
    for name in FOLDERS:
        _remove(home.path / name)
    for name in FILES:
        (home.path / name).unlink(missing_ok=True)
    if home.path.is_dir() and not any(home.path.iterdir()):
        home.path.rmdir()


def _remove(folder: Path) -> None:
    """Removes a folder; where it is a link to one outside, that one too."""
    target = folder.resolve()
    if target.exists():
        shutil.rmtree(target)
    if folder.is_symlink():
        folder.unlink()
