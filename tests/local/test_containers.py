"""The secrets of the containers: made once, and each where its service alone reads it."""

from __future__ import annotations

import json
from configparser import ConfigParser
from pathlib import Path

import pytest
from ropewalk.cli.certificates import write_certificates
from ropewalk.cli.stages import endpoints
from ropewalk.contracts.tokens import ALL, public_key
from ropewalk.kernel.tokens import Verifier
from ropewalk.local.containers import (
    CERTIFICATE,
    Containers,
    Server,
    endpoints_command,
    secrets_command,
)
from ropewalk.local.databases import LOGINS, STAGES

# Which services' folders hold a secret's text; the job `databases` has every role's password besides.
HOLDERS = {
    **{f"ropewalk_{stage}": {stage} for stage in STAGES},
    "ropewalk_reader": set(),
    "airflow": {"airflow"},
    "fleet": {"fleet"},
    "fleet_reader": {"collect"},
    "superuser": {"postgres"},
    "admin": {"airflow-api-server", "cli"},
    "signing_key": {"airflow", "cli"},
    "view_token": {"present"},
    "weather_token": {"collect", "weather"},
    "airflow_jwt": {"airflow"},
    "airflow_api": {"airflow"},
    "airflow_fernet": {"airflow"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the secrets of an installation."""
    folder = tmp_path / "containers"
    folder.mkdir()
    secrets_command(folder)
    return folder


def made(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "secrets.json").read_text())
    return found


@pytest.mark.parametrize("name", HOLDERS)
def test_a_secret_is_in_the_folders_of_its_services_alone(folder: Path, name: str) -> None:
    secret = made(folder)[name].splitlines()[0 if name != "signing_key" else 1]  # of PEM, the key
    files = [path for path in (folder / "secrets").rglob("*") if path.is_file()]
    holders = {path.parent.name for path in files if secret in path.read_text()}
    also = {"databases"} if name in (*LOGINS, "superuser") else set()
    assert holders == HOLDERS[name] | also


def test_only_the_owner_enters_and_every_service_reads_its_own(folder: Path) -> None:
    assert oct(folder.stat().st_mode)[-3:] == "700"
    assert oct((folder / "secrets.json").stat().st_mode)[-3:] == "600"
    for path in (folder / "secrets").rglob("*"):
        assert oct(path.stat().st_mode)[-3:] == ("755" if path.is_dir() else "644")


def test_a_stage_has_the_public_half_of_the_key_alone(folder: Path) -> None:
    public = public_key(made(folder)["signing_key"])
    for stage in STAGES:
        assert (folder / "secrets" / stage / "ropewalk_public_keys").read_text() == public


def test_with_certificates_each_service_has_its_own_and_calls_by_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_certificates(tmp_path / "tls")
    monkeypatch.setenv("ROPEWALK_TLS_DIR", str(tmp_path / "tls"))
    secrets_command(tmp_path)
    for name in (*STAGES, "airflow", "cli"):
        whose = "airflow" if name == "cli" else name
        for file, source in (
            ("tls.pem", f"{whose}.pem"),
            ("tls.key", f"{whose}.key"),
            ("ca.pem", "ca.pem"),
        ):
            own = (tmp_path / "secrets" / name / file).read_text()
            assert own == (tmp_path / "tls" / source).read_text()
    assert not list((tmp_path / "secrets").rglob("ca.key"))
    connections = json.loads((tmp_path / "secrets/airflow/connections.json").read_text())
    assert {one["schema"] for one in connections.values()} == {"https"}
    assert connections["ropewalk_store"]["extra"] == {
        "ca": "/run/secrets/ca.pem",
        "cert": "/run/secrets/tls.pem",
        "key": "/run/secrets/tls.key",
    }


def test_the_command_is_told_where_all_is_and_may_call(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its container does it: with what is in its own folder, and tokens that are made anew at every start."""
    monkeypatch.setenv("ROPEWALK_HOME", str(tmp_path / "home"))
    endpoints_command(folder / "secrets/cli/secrets.json")
    assert oct((tmp_path / "home/endpoints.json").stat().st_mode)[-3:] == "600"
    told = endpoints()
    assert set(told) == {"airflow", "stages"}
    assert told["airflow"] == {
        "url": "http://airflow-api-server:8080",
        "username": "admin",
        "password": made(folder)["admin"],
    }
    assert set(told["stages"]) == set(STAGES)
    store = told["stages"]["store"]
    assert (store["url"], store["flight"]) == ("http://store:8080", "grpc://store:8815")
    public = (folder / "secrets/store/ropewalk_public_keys").read_text()
    grant = Verifier(public, ("store",)).grant(f"Bearer {store['token']}")
    assert all(grant.allows(right) for right in ALL)


def test_over_tls_the_command_shows_the_certificate_that_is_mounted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROPEWALK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ROPEWALK_TLS_DIR", "/run/secrets")
    endpoints_command(folder / "secrets/cli/secrets.json")
    told = endpoints()
    assert told["stages"]["store"]["url"] == "https://store:8080"
    assert told["tls"] == {part: f"/run/secrets/{file}" for part, file in CERTIFICATE.items()}


def test_made_again_all_stays_and_a_users_own_files_too(folder: Path) -> None:
    before = made(folder)
    own = folder / "secrets" / "collect" / "ropewalk_connection_mine"
    own.write_text("postgresql://mine")
    secrets_command(folder)
    assert (made(folder), own.read_text()) == (before, "postgresql://mine")


def test_parts_find_each_other_by_the_names_of_the_services(folder: Path) -> None:
    one = Containers.of(folder)
    assert one.url("weather") == "http://weather:8080"
    assert one.flight("store") == "grpc://store:8815"
    assert one.databases.stage("store").endswith("@postgres:5432/ropewalk")
    config = ConfigParser()
    config.read(folder / "secrets" / "airflow" / "airflow.cfg")
    address = config["core"]["execution_api_server_url"]
    assert address == "http://airflow-api-server:8080/execution/"


def test_a_password_with_any_letters_makes_a_url() -> None:
    told = Server("db", "p@/:w").dsn("a b", "x@/:%", "c/d")
    assert told == "postgresql://a%20b:x%40%2F%3A%25@db:5432/c%2Fd"
