"""``ropewalk keys`` and ``ropewalk token``: the pair of keys of an installation, and tokens for programs."""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from pathlib import Path

from ropewalk.contracts.errors import ConfigError, nearest
from ropewalk.contracts.tokens import ALL, mint, new_signing_key, public_key

ONE = re.compile(r"task:[0-9a-f]{64}|dataset:[0-9a-f]{64}/[a-z0-9_]+")  # the right to a single one
PRIVATE, PUBLIC = "signing_key.pem", "public_keys.pem"


def write_keys(folder: Path) -> tuple[Path, Path]:
    """Write a new pair of keys; the private one is for its owner alone. ConfigError where there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / PRIVATE, folder / PUBLIC
    key = new_signing_key()
    try:
        handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{private} is there already", hint="name another folder") from None
    with os.fdopen(handle, "w") as file:
        file.write(key)
    public.write_text(public_key(key), encoding="utf-8")
    return private, public


def token(stage: str, rights: list[str], life: timedelta, key: Path | None) -> str:
    """A token for a stage, signed with the key in a file or with the local installation's own.

    ConfigError where a right is none: the token would open nothing, and nobody would say why.
    """
    for right in rights:
        if right not in ALL and not ONE.fullmatch(right):
            raise ConfigError(f"there is no right {right!r}", hint=nearest(right, ALL))
    return mint(_key(key), stage, *(rights or ALL), life=life.total_seconds())


def _key(path: Path | None) -> str:
    home = Path(os.environ.get("ROPEWALK_HOME", ".ropewalk"))
    try:
        if path is not None:
            return path.read_text(encoding="utf-8")
        found: str = json.loads((home / "secrets.json").read_text(encoding="utf-8"))["signing_key"]
    except (OSError, ValueError, KeyError):
        raise ConfigError(
            f"there is no signing key in {path or home}", hint="make up, or name one with --key"
        ) from None
    return found
