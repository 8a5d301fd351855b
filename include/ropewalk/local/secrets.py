"""The passwords and keys of an installation: generated once, kept in a file that its owner alone
can read.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.tokens import new_signing_key
from ropewalk.contracts.weak import weakness
from ropewalk.local.databases import LOGINS
from ropewalk.local.home import Home, write_private

FILE = "secrets.json"


def load(home: Home) -> Mapping[str, str]:
    """The installation's secrets by name; what is missing is generated and kept; ConfigError where one is weak."""
    path = home.path / FILE
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, value in known.items():
        if why := weakness(value):
            raise ConfigError(
                f"{name} {why}", file=str(path), hint="remove its line: it is then made anew"
            )
    missing = {name: make() for name, make in MAKERS.items() if name not in known}
    if missing:
        write_private(path, json.dumps({**known, **missing}, indent=2) + "\n")
    return {**known, **missing}


def _password() -> str:
    return secrets.token_urlsafe(32)  # 256 bits


def _key() -> str:
    return secrets.token_urlsafe(64)


def _fernet() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


MAKERS = {
    **dict.fromkeys(LOGINS, _password),
    "admin": _password,
    "superuser": _password,  # of Postgres in a container; without containers it has none
    "signing_key": new_signing_key,
    "view_token": _password,
    "weather_token": _password,
    "airflow_jwt": _key,
    "airflow_api": _key,
    "airflow_fernet": _fernet,
}
