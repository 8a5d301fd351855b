"""Stages, a Postgres and the demo's sources of the benchmarks' own: no Airflow, gone afterwards."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from ropewalk.contracts.tokens import new_signing_key
from ropewalk.local.databases import LOGINS, STAGES, Databases
from ropewalk.local.free_ports import free_port
from ropewalk.local.postgres import Cluster, throwaway
from ropewalk.testing.services import StageService, running

from bench.rivals import Sources

if TYPE_CHECKING:
    from ropewalk.kernel.datasets import DatasetStore

# As durable as an installation's: a server for tests gives that up.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@dataclass(frozen=True)
class Stack:
    """What runs: the stages by name, their databases, and the folder of all state."""

    folder: Path
    cluster: Cluster
    databases: Databases
    stages: dict[str, StageService]
    demo: Sources | None = None

    @property
    def sources(self) -> Sources:
        """The demo's sources, where they run."""
        if self.demo is None:
            raise RuntimeError("the stack runs without the demo's sources")
        return self.demo

    @property
    def dsn(self) -> str:
        """The results, as the store stage's role."""
        return self.databases.stage("store")

    @property
    def store(self) -> DatasetStore:
        """The store that the stages share."""
        from ropewalk.kernel.perform import open_store
        from ropewalk.kernel.settings import Settings

        url = (self.folder / "store").as_uri()
        return open_store(Settings(store_url=url, scratch_dir=self.folder / "bench-scratch"))


@contextmanager
def stack(folder: Path, names: Iterable[str] = STAGES, *, demo: bool = False) -> Iterator[Stack]:
    """The named stages over a Postgres of their own; with ``demo``, its sources too."""
    with ExitStack() as stops:
        cluster = stops.enter_context(throwaway(DURABLE))
        databases = Databases(cluster, {login: secrets.token_hex(16) for login in LOGINS})
        databases.provision()
        env = {"ROPEWALK_CONNECTION_RESULTS": databases.stage("store")}
        sources = stops.enter_context(_demo(folder / "data", databases)) if demo else None
        env |= _leading_to(sources) if sources else {}
        key = new_signing_key()
        services = [
            StageService(name, databases.stage(name), folder, env=env, key=key) for name in names
        ]
        started = stops.enter_context(running(*services))
        yield Stack(
            folder, cluster, databases, {service.stage: service for service in started}, sources
        )


@contextmanager
def _demo(data: Path, databases: Databases) -> Iterator[Sources]:
    """The demo's sources; the weather service is never busy."""
    port = free_port()
    sources = Sources(
        data,
        f"http://127.0.0.1:{port}",
        secrets.token_hex(16),
        databases.dsn("fleet_reader", "fleet"),
    )
    env = {
        **os.environ,
        "DEMO_DATA": str(data),
        "DEMO_FLEET_URL": databases.dsn("fleet", "fleet"),
        "DEMO_WEATHER_TOKEN": sources.key,
        "DEMO_WEATHER_PORT": str(port),
        "DEMO_WEATHER_BUSY_EVERY": "0",
    }
    subprocess.run(
        [sys.executable, "-m", "demo.prepare"], env=env, check=True, stdout=subprocess.DEVNULL
    )
    weather = subprocess.Popen(
        [sys.executable, "-m", "demo.weather"], env=env, stderr=subprocess.DEVNULL
    )
    try:
        _wait(f"{sources.weather}/healthz", weather)
        yield sources
    finally:
        weather.terminate()
        weather.wait(30)


def _leading_to(sources: Sources) -> dict[str, str]:
    """A stage's settings that lead to the sources."""
    return {
        "ROPEWALK_ROOT_DATA": str(sources.data),
        "ROPEWALK_PRIVATE_HOSTS": "127.0.0.1",
        "ROPEWALK_CONNECTION_FLEET": sources.fleet,
        "ROPEWALK_CONNECTION_WEATHER_API": json.dumps(
            {"url": sources.weather, "token": sources.key}
        ),
    }


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            httpx.get(url, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{url}: the service ended with status {process.returncode}")
