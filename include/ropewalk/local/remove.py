"""The last part of ``make clean``: removes what an installation has made, and nothing beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from ropewalk.contracts.errors import ConfigError
from ropewalk.local import ports, postgres, processes, secrets
from ropewalk.local.home import Home

FOLDERS = ("airflow", "data", "lineage", "logs", "run", "scratch", "secrets", "store")
FILES = ("endpoints.json", "lock", "pgpass", ports.FILE, secrets.FILE)


def remove(home: Home) -> None:
    """Removes the state of an installation that has been stopped; its folder too, if nothing else
    is in it.
    """
    if running := processes.recorded(home):
        raise ConfigError(f"{', '.join(running)} may still run", hint="make down")
    for path in (*postgres.places(home.path), *(home.path / name for name in FOLDERS)):
        _remove(path)
    for name in FILES:
        (home.path / name).unlink(missing_ok=True)
    if home.path.is_dir() and not any(home.path.iterdir()):
        home.path.rmdir()


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
