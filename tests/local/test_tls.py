"""Whether an installation speaks TLS is said once, and holds until something else is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from ropewalk.cli.certificates import write_certificates
from ropewalk.contracts.errors import ConfigError
from ropewalk.local import tls
from ropewalk.local.home import Home
from ropewalk.local.installation import Installation


@pytest.fixture
def made(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Certificates beside the home of an installation that was settled; nothing is said in the environment."""
    monkeypatch.delenv("ROPEWALK_TLS_DIR", raising=False)
    monkeypatch.delenv("ROPEWALK_TLS_MUTUAL", raising=False)
    Installation.settle(home)
    folder = home.path.parent / "tls"
    write_certificates(folder)
    return folder


def test_what_was_said_at_one_start_holds_at_the_next(
    home: Home, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROPEWALK_TLS_DIR", str(made))
    monkeypatch.setenv("ROPEWALK_TLS_MUTUAL", "true")
    tls.remember(home)
    monkeypatch.delenv("ROPEWALK_TLS_DIR")
    monkeypatch.delenv("ROPEWALK_TLS_MUTUAL")
    tls.remember(home)
    found = Installation.open(home)
    assert found.url("store").startswith("https:")
    assert found.stage_environment("store")["ROPEWALK_TLS_MUTUAL"] == "true"
    assert found.services()["tls"]["cert"] == str(made / "client.pem")


def test_plain_is_said_by_an_empty_folder(
    home: Home, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROPEWALK_TLS_DIR", str(made))
    tls.remember(home)
    monkeypatch.setenv("ROPEWALK_TLS_DIR", "")
    tls.remember(home)
    monkeypatch.delenv("ROPEWALK_TLS_DIR")
    assert "tls" not in Installation.open(home).services()


def test_a_folder_without_certificates_is_refused_and_not_kept(
    home: Home, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROPEWALK_TLS_DIR", str(made.parent / "tsl"))
    with pytest.raises(ConfigError, match=r"no ca\.pem in .*tsl.*ropewalk certificates"):
        tls.remember(home)
    monkeypatch.delenv("ROPEWALK_TLS_DIR")
    assert tls.chosen(home) == tls.Choice()
