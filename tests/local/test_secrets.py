"""Secrets: generated per installation, kept, and readable by their owner alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from ropewalk.contracts.errors import ConfigError
from ropewalk.local import secrets
from ropewalk.local.home import Home, write_private


def test_secrets_are_generated_once_and_differ_between_installations(tmp_path: Path) -> None:
    first = secrets.load(Home(tmp_path / "a"))
    assert secrets.load(Home(tmp_path / "a")) == first
    other = secrets.load(Home(tmp_path / "b"))
    assert set(first) == set(secrets.MAKERS)
    assert not set(first.values()) & set(other.values())
    assert len(set(first.values())) == len(first)


def test_a_secret_that_a_new_version_needs_is_added(tmp_path: Path) -> None:
    write_private(tmp_path / secrets.FILE, json.dumps({"view_token": "kept-as-it-is-here"}))
    found = secrets.load(Home(tmp_path))
    assert found["view_token"] == "kept-as-it-is-here"
    assert set(found) == set(secrets.MAKERS)


@pytest.mark.parametrize(
    "weak", ["", "admin", "Changeme123!", "short-one", "aaaaaaaaaaaaaaaaaaaaaaaa"]
)
def test_a_weak_secret_that_someone_wrote_there_is_refused(tmp_path: Path, weak: str) -> None:
    write_private(tmp_path / secrets.FILE, json.dumps({"admin": weak}))
    with pytest.raises(ConfigError, match="admin (is|has) "):
        secrets.load(Home(tmp_path))


def test_keys_are_as_long_as_their_users_want_them(tmp_path: Path) -> None:
    found = secrets.load(Home(tmp_path))
    assert len(found["airflow_jwt"].encode()) >= 64
    assert len(base64.urlsafe_b64decode(found["airflow_fernet"])) == 32


def test_what_is_random_has_256_bits(tmp_path: Path) -> None:
    found = dict(secrets.load(Home(tmp_path)))
    assert "PRIVATE KEY" in found.pop("signing_key")  # Ed25519: 32 bytes by its nature
    short = {
        name for name, value in found.items() if len(base64.urlsafe_b64decode(value + "==")) < 32
    }
    assert short == set()


def test_a_private_file_is_never_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
