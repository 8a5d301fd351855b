"""A stage with weak secrets, or in the open, does not start, and says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ropewalk.cli.certificates import write_certificates
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.tokens import new_signing_key, public_key
from ropewalk.kernel.service import checked
from ropewalk.kernel.settings import ANY_HOST, Settings

GOOD = {
    "public_keys": public_key(new_signing_key()),
    "database_url": "postgresql://role:a-good-one@db/x",
    "view_token": "the-key-of-the-viewers",
}
ANY = ANY_HOST[0]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"public_keys": ""}, "ROPEWALK_PUBLIC_KEYS must hold"),
    ({"database_url": None}, "ROPEWALK_DATABASE_URL must name"),
    ({"database_url": "postgresql://role:@db/x"}, "ROPEWALK_DATABASE_URL: the password is empty"),
    ({"database_url": "postgresql://role:postgres@db/x"}, "the password is one that everybody knows"),
    ({"database_url": "postgresql://role:Admin123%21@db/x"}, "the password is one that everybody knows"),
    ({"database_url": "postgresql://a-long-role:a-long-role@db/x"}, "the password is the role's name"),
    ({"database_url": "postgresql://role:shorty1@db/x"}, "the password has 7 characters: fewer than 8"),
    ({"view_token": ""}, "ROPEWALK_VIEW_TOKEN is empty"),
    ({"view_token": "   "}, "ROPEWALK_VIEW_TOKEN is empty"),
    ({"view_token": "changeme"}, "ROPEWALK_VIEW_TOKEN is one that everybody knows"),
    ({"view_token": "fifteen-letters"}, "ROPEWALK_VIEW_TOKEN has 15 characters: fewer than 16"),
    ({"view_token": "a" * 40}, "ROPEWALK_VIEW_TOKEN has too few different characters"),
    ({"host": ANY}, "ROPEWALK_HOST is 0.0.0.0: tokens and data would go over a network in plain"),
    ({"host": "::"}, "ROPEWALK_HOST is ::"),
    ({"host": "10.0.0.7"}, "ROPEWALK_HOST is 10.0.0.7"),
    ({"host": "stage.example"}, "ROPEWALK_HOST is stage.example"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "said"), REFUSED)
def test_what_no_stage_starts_with(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(Settings.model_validate({**GOOD, **changed}))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [{}, {"host": "127.0.0.5"}, {"host": "::1"}, {"host": "localhost"}, {"view_token": None},
     {"host": ANY, "trusted_network": True}, {"database_url": "postgresql://role@/x?host=/run/postgresql"}],
)  # fmt: skip
def test_what_one_starts_with(changed: dict[str, Any]) -> None:
    checked(Settings.model_validate({**GOOD, **changed}))


def test_with_tls_it_listens_anywhere(tmp_path: Path) -> None:
    write_certificates(tmp_path, names=["collect"])
    tls = {"tls_cert": tmp_path / "collect.pem", "tls_key": tmp_path / "collect.key"}
    checked(Settings.model_validate({**GOOD, "host": ANY, **tls}))


def test_the_process_ends_with_the_reason() -> None:
    """With 2, before it listens or touches its database; a secret that is refused is not told."""
    weak = "postgresql://role:hunter2@127.0.0.1:1/x"
    cases = {
        "no_tls": {"host": ANY},
        "weak_secret": {"database_url": weak},
        "no_public_key": {"public_keys": "x"},
    }
    started = [_start({**GOOD, **changed}) for changed in cases.values()]
    for process, code in zip(started, cases, strict=True):
        out, _ = process.communicate(timeout=120)
        told = json.loads(out.splitlines()[-1])
        assert (process.returncode, told["event"], told["code"]) == (2, "stage.refused", code)
        assert "hunter2" not in out


def _start(settings: dict[str, str]) -> subprocess.Popen[str]:
    env = {f"ROPEWALK_{name.upper()}": value for name, value in settings.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "ropewalk.collect"],
        env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
