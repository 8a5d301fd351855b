"""Where an installation keeps its state: ``.ropewalk`` beside the code, or ``ROPEWALK_HOME``."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ropewalk.contracts.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[3]
PORT_BASE = 8080
PORT_BASES = range(1024, 65000)


@dataclass(frozen=True)
class Home:
    """The folder of an installation's state, and the first of its ports."""

    path: Path
    port_base: int = PORT_BASE

    @classmethod
    def from_environment(cls) -> Home:
        """The home that ``ROPEWALK_HOME`` and ``ROPEWALK_PORT_BASE`` name; both have a default."""
        base = os.environ.get("ROPEWALK_PORT_BASE") or str(PORT_BASE)
        if not base.isdecimal() or int(base) not in PORT_BASES:
            raise ConfigError(f"ROPEWALK_PORT_BASE is {base!r}", hint="a number from 1024 to 65000")
        path = Path(os.environ.get("ROPEWALK_HOME") or REPOSITORY / ".ropewalk").expanduser()
        return cls(path if path.is_absolute() else Path.cwd() / path, int(base))

    def make(self) -> None:
        """Makes the folder; only the owner can list it, and where the owner is root others may
        pass through it
        (Postgres has an account of its own then, and its folder is in this one).
        """
        if not self.path.exists():
            self.path.mkdir(parents=True)
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)

    def folder(self, *names: str) -> Path:
        """A folder of the installation, made where it is missing; only the owner can enter it."""
        path = self.path
        for name in names:
            path /= name
            path.mkdir(mode=0o700, exist_ok=True)
        return path

    @property
    def endpoints(self) -> Path:
        """The file that tells programs where everything is."""
        return self.path / "endpoints.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the installation: a second ``up`` or ``down`` waits for the first one."""
        self.make()
        with (self.path / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def write_private(path: Path, text: str) -> None:
    """Replaces a file in one step; only the owner can read it, from the first byte on."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
