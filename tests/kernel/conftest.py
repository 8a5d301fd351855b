"""A real service of the example stage, and requests for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ropewalk.contracts.models import RunInfo, TaskRequest, Use
from ropewalk.contracts.tokens import new_signing_key
from ropewalk.testing.s3 import PASSWORD, USER, s3_server
from ropewalk.testing.services import StageService, running

from tests.conftest import Postgres

ROOT = Path(__file__).parents[2]
EXAMPLE = "tests.kernel.example"
KEY = new_signing_key()  # of all replicas here


Make = Callable[..., StageService]


@pytest.fixture
def make(postgres: Postgres, tmp_path: Path) -> Make:
    """Makes replicas of the example stage with one store and one ledger, this test's own."""
    return maker(postgres, tmp_path)


@pytest.fixture(scope="module")
def service(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StageService]:
    """The example stage, running."""
    make = maker(postgres, tmp_path_factory.mktemp("service"))
    with running(make()) as (one,):
        yield one


def maker(postgres: Postgres, home: Path) -> Make:
    url = postgres.database().stage("collect")

    def one(**env: str) -> StageService:
        paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'include'}"}
        common = {"ROPEWALK_LEASE_SECONDS": "2", "ROPEWALK_MEMORY_LIMIT": str(256 << 20)}
        return StageService(
            EXAMPLE, url, home, {**paths, **common, **env}, key=KEY, audience="collect"
        )

    return one


@pytest.fixture
def ask(request: pytest.FixtureRequest) -> Callable[..., TaskRequest]:
    """Makes a request that is this test's own."""
    counted = iter(range(1000))

    def one(
        what: str = "rows",
        *,
        run: str = "run-1",
        requested: int = 0,
        asker: str = "",
        **options: Any,
    ) -> TaskRequest:
        fields = {
            name: options.pop(name)
            for name in ("max_quarantined", "timeout", "inputs", "generation", "step", "partition")
            if name in options
        }
        fields.setdefault("step", "act")
        fields.setdefault("generation", f"{request.node.nodeid}-{next(counted)}")
        return TaskRequest(
            workflow="demo",
            stage="collect",
            do=[Use(plugin="act", options={"what": what, **options})],
            run=RunInfo(id=run, requested=requested, attempt=asker),
            **fields,
        )

    return one


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running S3 server with the bucket ``store``."""
    import boto3

    with pytest.MonkeyPatch.context() as patch, s3_server(tmp_path_factory.mktemp("s3")) as url:
        patch.setenv("AWS_ACCESS_KEY_ID", USER)
        patch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket="store")
        yield url
