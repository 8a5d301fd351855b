"""The collect and the store stage as real services, with one dataset store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ropewalk.kernel.datasets import DatasetStore
from ropewalk.kernel.perform import open_store
from ropewalk.kernel.settings import Settings
from ropewalk.testing.services import StageService, running

from tests.conftest import Database, Postgres

MIB = 1024 * 1024
MEMORY = 512 * MIB  # of a task


@dataclass(frozen=True)
class Line:
    """Both stages, the folder that ``data://`` is, their dataset store and the results' database."""

    collect: StageService
    store: StageService
    root: Path
    datasets: DatasetStore
    results: Database


@pytest.fixture(scope="package")
def line(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Both stages, running, each task within 512 MiB."""
    home, results = tmp_path_factory.mktemp("corpus"), postgres.database()
    root = home / "data"
    root.mkdir()
    env = {
        "ROPEWALK_MEMORY_LIMIT": str(MEMORY),
        "ROPEWALK_MAX_UNPACKED": str(200 * MIB),
        "ROPEWALK_ROOT_DATA": str(root),
        "ROPEWALK_CONNECTION_RESULTS": results.stage("store"),
    }
    collect = StageService("collect", results.stage("collect"), home, env)
    store = StageService("store", results.stage("store"), home, env)
    settings = Settings.model_validate(
        {"store_url": (home / "store").as_uri(), "scratch_dir": home / "read"}
    )
    with running(collect, store):
        yield Line(collect, store, root, open_store(settings), results)
