"""Which account of the system runs Postgres: the caller's own, or an unprivileged one where the
caller is root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAME = "ropewalk"
FALLBACK = "nobody"


@dataclass(frozen=True)
class Account:
    """An account that a program is started as; ``switch`` says that it is not the caller's own."""

    name: str
    uid: int
    gid: int
    switch: bool

    def reaches(self, path: Path) -> bool:
        """Whether the account may read ``path``: the caller's own always, another one by every
        folder's bits for others.
        """
        folders = [path, *path.parents]
        return not self.switch or all(folder.stat().st_mode & 0o001 for folder in folders)

    def give(self, path: Path) -> None:
        """Makes the account the owner of ``path``."""
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def popen(self) -> dict[str, object]:
        """The arguments of ``subprocess`` that start a program as this account."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def postgres_account() -> Account:
    """The account for Postgres, which refuses to run as root; made on first use where the caller
    is root.
    """
    if os.geteuid() != 0:
        return _account(caller_name(), switch=False)
    return _account(NAME if _exists(NAME) or _create(NAME) else FALLBACK, switch=True)


def caller_name() -> str:
    """The name of the account that runs this process."""
    return pwd.getpwuid(os.geteuid()).pw_name


def _account(name: str, *, switch: bool) -> Account:
    entry = pwd.getpwnam(name)
    return Account(name, entry.pw_uid, entry.pw_gid, switch)


def _exists(name: str) -> bool:
    return any(entry.pw_name == name for entry in pwd.getpwall())


def _create(name: str) -> bool:
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if useradd is None:
        return False
    command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0 or _exists(
        name
    )
