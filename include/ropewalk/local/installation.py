"""An installation as a value: its home, ports, secrets and databases, and the environments made of
them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.tokens import ALL, OWNER, mint, public_key
from ropewalk.local import airflow, ports, secrets, tls
from ropewalk.local.databases import READER, RESULTS, STAGES, Databases
from ropewalk.local.home import REPOSITORY, Home, write_private
from ropewalk.local.ports import Plan
from ropewalk.local.postgres import Cluster, cluster

OWN = {
    "ROPEWALK_HOME",
    "ROPEWALK_PORT_BASE",
    "ROPEWALK_DAGS_FOLDER",
    "ROPEWALK_PRIVATE_HOSTS",  # it is added to
    "ROPEWALK_TLS_DIR",
}
TLS = {"cert": "ROPEWALK_TLS_CERT", "key": "ROPEWALK_TLS_KEY", "ca": "ROPEWALK_TLS_CA"}
FILES = {
    "ca": "ca.pem",
    "cert": "{name}.pem",
    "key": "{name}.key",
}  # as `ropewalk certificates` does
LOCAL = "127.0.0.1,localhost"


@dataclass(frozen=True)
class Installation:
    """Everything that the parts of one installation must agree on."""

    home: Home
    ports: Mapping[str, int]
    secrets: Mapping[str, str]

    @classmethod
    def settle(cls, home: Home, running: Iterable[str] = ()) -> tuple[Installation, Plan]:
        """The installation of a home, made where there is none; and which of its ports had to move.

        ``running`` names the ports that its own processes hold now.
        """
        home.make()
        plan = ports.settle(home, set(running))
        return cls(home, plan.ports, secrets.load(home)), plan

    @classmethod
    def open(cls, home: Home) -> Installation:
        """The installation that was settled in a home before."""
        known = ports.remembered(home)
        if set(known) != set(ports.NAMES):
            raise ConfigError(f"nothing has been set up in {home.path} yet", hint="make up")
        return cls(home, known, secrets.load(home))

    @cached_property
    def cluster(self) -> Cluster:
        """The installation's Postgres."""
        return cluster(self.home.path, self.ports["postgres"])

    @property
    def databases(self) -> Databases:
        """Its databases and roles."""
        return Databases(self.cluster, self.secrets)

    @property
    def airflow(self) -> airflow.Client:
        """Its Airflow's REST API."""
        return airflow.Client(self.url("airflow"), self.secrets["admin"])

    @property
    def dags(self) -> Path:
        """The folder of the DAGs: the repository's, or ``ROPEWALK_DAGS_FOLDER``."""
        return Path(os.environ.get("ROPEWALK_DAGS_FOLDER") or REPOSITORY / "dags").absolute()

    def host(self, name: str) -> str:  # noqa: ARG002 - in containers each has a host of its own
        """Where a part listens, for the other parts."""
        return "127.0.0.1"

    def url(self, name: str) -> str:
        """The URL of what listens on a named port."""
        scheme = "https" if name in STAGES and self.tls else "http"
        return f"{scheme}://{self.host(name)}:{self.ports[name]}"

    def flight(self, stage: str) -> str:
        """The address of a stage's Flight server."""
        scheme = "grpc+tls" if self.tls else "grpc"
        return f"{scheme}://{self.host(stage)}:{self.ports[f'{stage}_flight']}"

    @property
    def tls(self) -> Path | None:
        """The folder that ``ropewalk certificates`` has written, where the stages are to speak TLS."""
        folder = tls.chosen(self.home).folder
        return Path(folder) if folder else None

    def certificate(self, name: str) -> dict[str, str]:
        """The files of a service that speaks TLS: its certificate, its key, and whom to trust."""
        if self.tls is None:
            return {}
        return {part: str(self.tls / file.format(name=name)) for part, file in FILES.items()}

    def write_airflow_settings(self) -> str:
        """Writes Airflow's settings file; gives its text."""
        chosen = airflow.settings(
            self.home,
            port=self.ports["airflow"],
            dsn=self.databases.dsn("airflow", "airflow"),
            secrets=self.secrets,
            dags=self.dags,
        )
        return airflow.write_settings(self.home, chosen, self.secrets["admin"])

    def airflow_connections(self) -> dict[str, dict[str, Any]]:
        """Airflow's connection to each stage, by its id."""
        return {
            f"ropewalk_{stage}": {
                "conn_type": "ropewalk_stage",
                "schema": "https" if self.tls else "http",
                "host": self.host(stage),
                "port": self.ports[stage],
                "password": self.secrets["signing_key"],
                "extra": self.certificate("airflow"),
            }
            for stage in STAGES
        }

    def airflow_environment(self) -> dict[str, str]:
        """What ``airflow`` needs beside its settings file: where that is, and a connection to each
        stage.
        """
        connections = {
            f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields)
            for name, fields in self.airflow_connections().items()
        }
        return {
            **common(),
            **connections,
            "AIRFLOW_HOME": str(self.home.path / "airflow"),
        }

    def stage_environment(self, stage: str) -> dict[str, str]:
        """A stage's settings; what is secret among them stands in files, as it would be mounted in
        a container.
        """
        mutual = tls.chosen(self.home).mutual
        return {
            **common(),
            **_tuning(),
            "ROPEWALK_STAGE": stage,
            "ROPEWALK_HOST": "127.0.0.1",
            "ROPEWALK_PORT": str(self.ports[stage]),
            "ROPEWALK_FLIGHT_PORT": str(self.ports[f"{stage}_flight"]),
            "ROPEWALK_FLIGHT_URL": self.flight(stage),
            "ROPEWALK_STORE_URL": self.home.folder("store").as_uri(),
            "ROPEWALK_SCRATCH_DIR": str(self.home.folder("scratch", stage)),
            "ROPEWALK_ROOT_DATA": str(self.home.folder("data")),
            "ROPEWALK_SECRETS_DIR": str(self.home.folder("secrets", stage)),
            **({"ROPEWALK_PRIVATE_HOSTS": self._private_hosts()} if stage == "collect" else {}),
            **{TLS[part]: path for part, path in self.certificate(stage).items()},
            **({"ROPEWALK_TLS_MUTUAL": mutual} if mutual else {}),
        }

    def run_environment(self) -> dict[str, str]:
        """What ``ropewalk run`` needs to reach what the stages reach: their roots and their connections."""
        folders = (self.home.folder("secrets", stage) for stage in ("collect", "store"))
        return {
            "ROPEWALK_ROOT_DATA": str(self.home.folder("data")),
            "ROPEWALK_SECRETS_DIR": os.pathsep.join(map(str, folders)),
            "ROPEWALK_PRIVATE_HOSTS": self._private_hosts(),
        }

    def _private_hosts(self) -> str:
        """What `collect` may reach on this machine: the demo's sources, and what the caller allows."""
        demo = [f"127.0.0.1:{self.ports[name]}" for name in ("weather", "postgres")]
        allowed = os.environ.get("ROPEWALK_PRIVATE_HOSTS", "").split(",")
        return ",".join(dict.fromkeys(filter(None, [*demo, *allowed])))

    def write_stage_secrets(self, stage: str) -> str:
        """Writes the secrets of a stage, one file each; a user's own files beside them stay. Gives
        their text.
        """
        found = {
            "public_keys": public_key(self.secrets["signing_key"]),
            "database_url": self.databases.stage(stage),
            **({"view_token": self.secrets["view_token"]} if stage == "present" else {}),
            **{
                f"connection_{name}": json.dumps(value)
                for name, value in self._connections(stage).items()
            },
        }
        for name, value in found.items():
            write_private(self.home.folder("secrets", stage) / f"ropewalk_{name}", value)
        return json.dumps(found)

    def _connections(self, stage: str) -> dict[str, dict[str, str]]:
        """The outside systems that a stage may reach, by name."""
        if stage == "collect":
            return {
                "weather_api": {"url": self.url("weather"), "token": self.secrets["weather_token"]},
                "fleet": {"url": self.databases.dsn("fleet_reader", "fleet")},
            }
        return {"results": {"url": self.databases.stage("store")}} if stage == "store" else {}

    def services(self) -> dict[str, Any]:
        """Where Airflow and the stages are and what opens them; the tokens are good for a week."""
        return {
            "airflow": {
                "url": self.url("airflow"),
                "username": airflow.USER,
                "password": self.secrets["admin"],
            },
            "stages": {
                stage: {
                    "url": self.url(stage),
                    "flight": self.flight(stage),
                    "token": mint(self.secrets["signing_key"], stage, *ALL, life=OWNER),
                }
                for stage in STAGES
            },
            **({"tls": self.certificate("client")} if self.tls else {}),
        }

    def endpoints(self) -> dict[str, Any]:
        """Where everything is and what opens it, for programs."""
        return {
            **self.services(),
            "postgres": {"results": self.databases.dsn(READER, RESULTS)},
            "present": {"url": f"{self.url('present')}/reports/?key={self.secrets['view_token']}"},
        }

    def write_endpoints(self) -> None:
        """Writes ``endpoints.json``, for the owner alone."""
        write_private(self.home.endpoints, json.dumps(self.endpoints(), indent=2) + "\n")


def common() -> dict[str, str]:
    """What every Python process of an installation is given."""
    return {
        "PYTHONPATH": str(REPOSITORY / "include"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
        "MALLOC_ARENA_MAX": "2",  # glibc keeps an arena per thread otherwise
        "NO_PROXY": LOCAL,
        "no_proxy": LOCAL,
    }


def _tuning() -> dict[str, str]:
    """The stage settings that the caller's environment holds (``ROPEWALK_MEMORY_LIMIT``, …)."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("ROPEWALK_") and name not in OWN
    }
