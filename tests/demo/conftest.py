"""The demo's sources, running: files, the weather service, and the fleet's database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from demo import files, fleet
from ropewalk.local.free_ports import free_port

from tests.conftest import Postgres

KEY = "the-weather's-key"


@pytest.fixture(scope="session")
def weather() -> Iterator[str]:
    """The URL of a weather service that is busy at every third request."""
    port = free_port()
    settings = {
        "DEMO_WEATHER_PORT": str(port),
        "DEMO_WEATHER_TOKEN": KEY,
        "DEMO_WEATHER_BUSY_EVERY": "3",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "demo.weather"],
        env={**os.environ, **settings},
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while not answers(f"{url}/healthz"):
            assert process.poll() is None
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def sources(
    postgres: Postgres, weather: str, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, str]:
    """The settings that lead to all three kinds of source."""
    data, database = tmp_path_factory.mktemp("data"), postgres.database()
    files.prepare(data)
    fleet.prepare(database.superuser)
    return {
        "ROPEWALK_ROOT_DATA": str(data),
        "ROPEWALK_CONNECTION_WEATHER_API": json.dumps({"url": weather, "token": KEY}),
        "ROPEWALK_CONNECTION_FLEET": database.superuser,
        "ROPEWALK_PRIVATE_HOSTS": weather.removeprefix("http://"),
    }


@pytest.fixture
def connected(sources: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """This process with those settings, as a stage has them."""
    for name, value in sources.items():
        monkeypatch.setenv(name, value)
    return sources


def answers(url: str) -> bool:
    """Whether the URL answers with success."""
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


def dags(name: str) -> Path:
    """A workflow file of the repository."""
    return Path(__file__).parents[2] / "dags" / "workflows" / f"{name}.yaml"
