"""What the containers of ``docker-compose.yaml`` cannot do for themselves: ``python -m ropewalk.local.containers``.

``secrets`` makes every password and key, and writes to each service's folder what that service alone may read;
``databases`` makes roles, databases and grants in Postgres; ``endpoints`` tells the command ``ropewalk`` where all is.
Each can be done again at any time.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import typer

from ropewalk.contracts.errors import RopewalkError
from ropewalk.local import airflow, ports, secrets
from ropewalk.local.databases import LOGINS, STAGES, Databases
from ropewalk.local.home import Home, write_private
from ropewalk.local.installation import FILES, Installation

STATE = Path("/var/lib/ropewalk/airflow")
CODE = Path("/opt/ropewalk")
MOUNTED = Path("/run/secrets")
CERTIFICATE = {"ca": "ca.pem", "cert": "tls.pem", "key": "tls.key"}  # of a service, in its folder
HOSTS = {"airflow": "airflow-api-server"}  # of a part that is not called as its service is
HTTP, FLIGHT, POSTGRES = 8080, 8815, 5432
PORTS = {
    **{name: FLIGHT if name.endswith("_flight") else HTTP for name in ports.NAMES},
    "postgres": POSTGRES,
}
ROLES = (*LOGINS, "superuser")
CALLER = ("admin", "signing_key")  # what Airflow and the stages are called with
CERTIFIED = {**dict.fromkeys(("airflow", "cli"), "airflow"), **{name: name for name in STAGES}}

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@dataclass(frozen=True)
class Server:
    """A Postgres on a host of its own, whose superuser has a password."""

    host: str
    password: str
    port: int = POSTGRES

    def superuser_dsn(self, database: str) -> str:
        """The superuser's DSN for a database."""
        return self.dsn("postgres", self.password, database)

    def dsn(self, role: str, password: str, database: str) -> str:
        """A role's DSN for a database."""
        name, key, path = (quote(part, safe="") for part in (role, password, database))
        return f"postgresql://{name}:{key}@{self.host}:{self.port}/{path}"


@dataclass(frozen=True)
class Containers(Installation):
    """An installation whose parts are services of the compose file."""

    @classmethod
    def of(cls, folder: Path) -> Containers:
        """The installation whose secrets are in a folder; what is missing of them is made."""
        home = Home(folder)
        return cls(home, PORTS, secrets.load(home))

    @property
    def databases(self) -> Databases:
        """The databases and roles of the service ``postgres``."""
        return databases(self.secrets)

    def host(self, name: str) -> str:
        """The service of a part."""
        return HOSTS.get(name, name)

    def certificate(self, name: str) -> dict[str, str]:  # noqa: ARG002 - each is given its own, by the same name
        """The files of a service that speaks TLS, as they are mounted into its container."""
        return {part: str(MOUNTED / file) for part, file in CERTIFICATE.items() if self.tls}

    def write_secrets(self) -> None:
        """Writes what each service reads to a folder of its own."""
        for stage in STAGES:
            self.write_stage_secrets(stage)
        for path, text in {**self._files(), **self._certificates()}.items():
            write_private(self.home.folder("secrets") / path, text)

    def _certificates(self) -> Mapping[str, str]:
        """The certificate and key of each service that calls or is called over TLS, and whom to trust."""
        if self.tls is None:
            return {}
        return {
            f"{name}/{CERTIFICATE[part]}": (self.tls / file.format(name=whose)).read_text()
            for name, whose in CERTIFIED.items()
            for part, file in FILES.items()
        }

    def _files(self) -> Mapping[str, str]:
        """The files of the services that are no stages."""
        return {
            "postgres/password": self.secrets["superuser"],
            "databases/passwords.json": json.dumps({name: self.secrets[name] for name in ROLES}),
            "airflow/airflow.cfg": airflow.settings_text(self._airflow_settings()),
            "airflow/connections.json": json.dumps(self.airflow_connections()),
            "airflow-api-server/passwords.json": json.dumps({airflow.USER: self.secrets["admin"]}),
            "cli/secrets.json": json.dumps({name: self.secrets[name] for name in CALLER}),
            "weather/token": self.secrets["weather_token"],
            "fleet/url": self.databases.dsn("fleet", "fleet"),
        }

    def _airflow_settings(self) -> dict[str, dict[str, str]]:
        """Airflow's settings: those of every installation, and where things are in its containers."""
        chosen = airflow.settings(
            self.home,
            port=HTTP,
            dsn=self.databases.dsn("airflow", "airflow"),
            secrets=self.secrets,
            dags=CODE / "dags",
        )
        for section, values in self._in_containers().items():
            chosen[section] = {**chosen.get(section, {}), **values}
        return chosen

    def _in_containers(self) -> dict[str, dict[str, str]]:
        lineage = {"type": "file", "log_file_path": str(STATE / "lineage/events.jsonl")}
        connections = {"connections_file_path": str(MOUNTED / "connections.json")}
        return {
            "core": {
                "plugins_folder": str(CODE / "plugins"),
                "simple_auth_manager_passwords_file": "/tmp/airflow/passwords.json",  # noqa: S108 - the container's own
                "execution_api_server_url": f"{self.url('airflow')}/execution/",
            },
            "api": {"host": "0.0.0.0"},  # noqa: S104 - the container's own addresses
            "scheduler": {
                "enable_health_check": "True",
                "scheduler_health_check_server_host": "127.0.0.1",  # its own container alone asks it
            },
            "logging": {"base_log_folder": str(STATE / "logs")},
            "openlineage": {"transport": json.dumps({**lineage, "append": True})},
            "secrets": {
                "backend": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
                "backend_kwargs": json.dumps(connections),
            },
        }


def databases(passwords: Mapping[str, str]) -> Databases:
    """The databases and roles of the service ``postgres``."""
    return Databases(Server("postgres", passwords["superuser"]), passwords)


@app.command("secrets")
def secrets_command(folder: Path) -> None:
    """Make what is missing of the secrets in FOLDER, and write every service's own."""
    folder.chmod(0o700)
    containers = Containers.of(folder)
    containers.write_secrets()
    open_to_services(folder / "secrets")
    typer.echo(f"Airflow   user {airflow.USER}, password {containers.secrets['admin']}")
    typer.echo(f"Reports   key {containers.secrets['view_token']}")


@app.command("databases")
def databases_command(file: Path) -> None:
    """Make what is missing of roles, databases, schemas and grants; FILE has the roles' passwords."""
    databases(json.loads(file.read_text(encoding="utf-8"))).provision()


@app.command("endpoints")
def endpoints_command(file: Path) -> None:
    """Write where Airflow and the stages are to ROPEWALK_HOME, with new tokens; FILE has what they are called with."""
    home = Home.from_environment()
    known = Containers(home, PORTS, json.loads(file.read_text(encoding="utf-8")))
    write_private(home.endpoints, json.dumps(known.services(), indent=2) + "\n")


def open_to_services(folder: Path) -> None:
    """Lets a service read what is mounted into it, whatever its user: who may pass the folder around all is
    decided there.
    """
    for place, _, names in os.walk(folder):
        Path(place).chmod(0o755)
        for name in names:
            (Path(place) / name).chmod(0o644)


def main() -> None:
    """Runs a command; an error of ours is one message, without a trace."""
    try:
        app()
    except RopewalkError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
