"""Whether the stages of an installation speak TLS: as the environment says, else as at the last start, so that
a start that says nothing takes it from no one.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ropewalk.contracts.errors import ConfigError
from ropewalk.local.home import Home, write_private

FILE = "tls.json"


@dataclass(frozen=True)
class Choice:
    """The folder of ``ropewalk certificates``, none for plain; and ``ROPEWALK_TLS_MUTUAL``, as it was said."""

    folder: str = ""
    mutual: str = ""


def chosen(home: Home) -> Choice:
    """What holds now; ``ROPEWALK_TLS_DIR=`` with nothing behind it is plain."""
    path = home.path / FILE
    known = Choice(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else Choice()
    folder = os.environ.get("ROPEWALK_TLS_DIR", known.folder)
    if not folder:
        return Choice()
    return Choice(
        os.path.abspath(folder),  # noqa: PTH100 - a link stays one: it may lead to newer certificates
        os.environ.get("ROPEWALK_TLS_MUTUAL", known.mutual),
    )


def remember(home: Home) -> None:
    """Keeps what holds now for the next start, and for the commands that work on what runs; ConfigError where there
    are no certificates.
    """
    choice = chosen(home)
    if choice.folder and not (Path(choice.folder) / "ca.pem").is_file():
        raise ConfigError(
            f"there is no ca.pem in {choice.folder}",
            hint=f"ropewalk certificates {choice.folder}, or ROPEWALK_TLS_DIR= for no TLS",
        )
    write_private(home.path / FILE, json.dumps(asdict(choice)) + "\n")
