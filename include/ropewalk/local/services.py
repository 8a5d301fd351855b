"""The processes of an installation, as one table: what is run, in which environment, and how it
shows that it is ready.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
import psycopg

from ropewalk.contracts.tls import client_context
from ropewalk.local import processes
from ropewalk.local.account import Account
from ropewalk.local.databases import STAGES
from ropewalk.local.installation import Installation, common

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
NAMES = ("postgres", *STAGES, "weather", *(f"airflow-{name}" for name in COMPONENTS))
SIGNALS = {
    "postgres": signal.SIGINT
}  # the fast shutdown: open sessions are ended, and a checkpoint written

Ready = Callable[[float], bool]  # given when the process was started, in seconds since 1970


@dataclass(frozen=True)
class Service:
    """One process: how it is run, when it is ready, and what must be ready before."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Ready
    after: tuple[str, ...] = ()
    port: str | None = None  # the name of its port, where it listens
    secret: str = ""  # the text of the settings files that it reads
    account: Account | None = field(default=None, compare=False)

    @property
    def settings(self) -> str:
        """A digest of all that a running process must have been started with."""
        text = json.dumps([self.argv, sorted(self.env.items()), self.secret])
        return hashlib.sha256(text.encode()).hexdigest()


def services(installation: Installation) -> list[Service]:
    """Every service of the installation, in the order of their start."""
    return [
        _postgres(installation),
        *(_stage(installation, stage) for stage in STAGES),
        _weather(installation),
        *_airflow(installation),
    ]


def port_names() -> dict[str, tuple[str, ...]]:
    """The ports that each service listens on, by the service's name."""
    stages = {stage: (stage, f"{stage}_flight") for stage in STAGES}
    return {
        "postgres": ("postgres",),
        "weather": ("weather",),
        "airflow-api-server": ("airflow",),
        **stages,
    }


def _postgres(installation: Installation) -> Service:
    cluster = installation.cluster
    return Service(
        "postgres",
        tuple(cluster.argv),
        {},
        lambda _: _lets_in(cluster.superuser),
        after=("initdb",),
        port="postgres",
        account=cluster.account,
    )


def _stage(installation: Installation, stage: str) -> Service:
    return Service(
        stage,
        (sys.executable, "-m", f"ropewalk.{stage}"),
        installation.stage_environment(stage),
        _answers(f"{installation.url(stage)}/readyz", installation.certificate("client")),
        after=("databases",),
        port=stage,
        secret=installation.write_stage_secrets(stage),
    )


def _weather(installation: Installation) -> Service:
    env = {
        **common(),
        "DEMO_WEATHER_PORT": str(installation.ports["weather"]),
        "DEMO_WEATHER_TOKEN": installation.secrets["weather_token"],
        "DEMO_DATA": str(installation.home.folder("data")),
    }
    url = installation.url("weather")
    return Service(
        "weather",
        (sys.executable, "-m", "demo.weather"),
        env,
        _answers(f"{url}/healthz"),
        port="weather",
    )


def _airflow(installation: Installation) -> list[Service]:
    env, text = installation.airflow_environment(), installation.write_airflow_settings()
    client = installation.airflow

    def component(name: str, *options: str, ready: Ready, port: str | None = None) -> Service:
        argv = (sys.executable, str(processes.BIN / "airflow"), name, *options)
        return Service(
            f"airflow-{name}", argv, env, ready, after=("migrations",), port=port, secret=text
        )

    def beats(name: str) -> Ready:
        return lambda started: client.alive_since(name, started)

    # The API server reads the logs' files itself: nobody needs to serve them.
    return [
        component("api-server", ready=_answers(f"{client.url}/api/v2/version"), port="airflow"),
        component("scheduler", "--skip-serve-logs", ready=beats("scheduler")),
        component("dag-processor", ready=beats("dag-processor")),
        component("triggerer", "--skip-serve-logs", ready=beats("triggerer")),
    ]


def _answers(url: str, files: Mapping[str, str] | None = None) -> Ready:
    """Ready when the URL answers with success; ``files`` are those of TLS."""
    verify = client_context(files) if files else False
    return lambda _: httpx.get(url, timeout=10, trust_env=False, verify=verify).is_success


def _lets_in(dsn: str) -> bool:
    psycopg.connect(dsn, connect_timeout=5).close()
    return True
