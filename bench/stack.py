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
from ropewalk.local.databases import LOGINS, STAGES, Databases
from ropewalk.local.postgres import throwaway
from ropewalk.testing.services import StageService, free_port, running

if TYPE_CHECKING:
    from ropewalk.kernel.datasets import DatasetStore

# As durable as an installation's: a server for tests gives that up.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@dataclass(frozen=True)
class Stack:
    """What runs: the stages by name, their databases, and the folder of all state."""

    folder: Path
    databases: Databases
    stages: dict[str, StageService]

    @property
    def dsn(self) -> str:
        """The results, as the store stage's role."""
        return self.databases.stage("store")

    @property
    def data(self) -> Path:
        """The root of the demo's files."""
        return self.folder / "data"

    @property
    def store(self) -> DatasetStore:
        """The store that the stages share."""
        from ropewalk.kernel.perform import open_store
        from ropewalk.kernel.settings import Settings

        url = (self.folder / "store").as_uri()
        return open_store(Settings(store_url=url, scratch_dir=self.folder / "scratch" / "bench"))


@contextmanager
def stack(folder: Path, names: Iterable[str] = STAGES, *, demo: bool = False) -> Iterator[Stack]:
    """The named stages over a Postgres of their own; with ``demo``, its sources too."""
    with ExitStack() as stops:
        cluster = stops.enter_context(throwaway(DURABLE))
        databases = Databases(cluster, {login: secrets.token_hex(16) for login in LOGINS})
        databases.provision()
        env = {"ROPEWALK_CONNECTION_RESULTS": databases.stage("store")}
        if demo:
            env |= stops.enter_context(_demo(folder / "data", databases))
        token = secrets.token_hex(16)
        services = [
            StageService(name, databases.stage(name), folder, env=env, token=token)
            for name in names
        ]
        started = stops.enter_context(running(*services))
        yield Stack(folder, databases, {service.stage: service for service in started})


@contextmanager
def _demo(data: Path, databases: Databases) -> Iterator[dict[str, str]]:
    """The demo's sources, and the settings that lead to them; the weather service is never busy."""
    key, port = secrets.token_hex(16), free_port()
    env = {
        **os.environ,
        "DEMO_DATA": str(data),
        "DEMO_FLEET_URL": databases.dsn("fleet", "fleet"),
        "DEMO_WEATHER_TOKEN": key,
        "DEMO_WEATHER_PORT": str(port),
        "DEMO_WEATHER_BUSY_EVERY": "0",
    }
    subprocess.run(
        [sys.executable, "-m", "demo.prepare"], env=env, check=True, stdout=subprocess.DEVNULL
    )
    weather = subprocess.Popen([sys.executable, "-m", "demo.weather"], env=env)
    try:
        _wait(f"http://127.0.0.1:{port}/healthz", weather)
        yield {
            "ROPEWALK_ROOT_DATA": str(data),
            "ROPEWALK_CONNECTION_FLEET": databases.dsn("fleet_reader", "fleet"),
            "ROPEWALK_CONNECTION_WEATHER_API": json.dumps(
                {"url": f"http://127.0.0.1:{port}", "token": key}
            ),
        }
    finally:
        weather.terminate()
        weather.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            httpx.get(url, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{url}: the service ended with status {process.returncode}")
