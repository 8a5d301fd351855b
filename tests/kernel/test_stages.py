"""Every stage keeps the contract: the five, and one that is not of this product."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ropewalk.testing.services import StageService, running
from ropewalk.testing.stages import FINGERPRINT, Stage, StageSuite, rows

from tests.conftest import Postgres

ROOT = Path(__file__).parents[2]


def request(stage: str, plugin: str, options: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A request, as JSON."""
    return {
        "workflow": "conformance", "step": "step", "stage": stage, "run": {"id": "run-1"},
        "do": [{"plugin": plugin, "options": options}], **more,
    }  # fmt: skip


@contextmanager
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="class")
def service(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StageService]:
    """The service of a class's stage, for all its tests."""
    suite: type[_Suite] = request.cls
    home = tmp_path_factory.mktemp(suite.name)
    (home / "data").mkdir()
    (home / "data" / "x.csv").write_text("n,s\n1,rope\n2,walk\n")
    database = postgres.database()
    with silent() as url:
        env = {
            "ROPEWALK_ROOT_DATA": str(home / "data"),
            "ROPEWALK_CONNECTION_SILENT": url,
            "ROPEWALK_PRIVATE_HOSTS": url.removeprefix("http://"),
            "ROPEWALK_CONNECTION_RESULTS": database.stage("store"),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'include'}",
        }
        ledger = database.stage(suite.name)
        made = StageService(suite.module or suite.name, ledger, home, env, audience=suite.name)
        with running(made) as (one,):
            yield one


class _Suite(StageSuite):
    """A stage of this product."""

    name: str
    module: str = ""

    @pytest.fixture
    def stage(self, service: StageService) -> Stage:
        """The service, and what it may be asked to do."""
        empty = Stage(service.url, service.flight, service.token, {})
        ref = empty.put(rows(), {"rows": 3, "fingerprint": FINGERPRINT})
        inputs = {"rows": json.loads(ref.model_dump_json())}
        return Stage(
            service.url, service.flight, service.token, self.asked(inputs), self.endless(inputs)
        )

    def asked(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A task that succeeds."""
        raise NotImplementedError

    def endless(self, inputs: dict[str, Any]) -> dict[str, Any] | None:  # noqa: ARG002
        """A task that does not end."""
        return None


class TestCollect(_Suite):
    name = "collect"

    def asked(self, inputs: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        return request("collect", "files", {"path": "data://x.csv"})

    def endless(self, inputs: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        return request("collect", "rest", {"connection": "silent", "timeout": 600})


class TestProcess(_Suite):
    name = "process"

    def asked(self, inputs: dict[str, Any]) -> dict[str, Any]:
        query = {"query": "SELECT n, s FROM rows WHERE n IS NOT NULL"}
        return request("process", "sql", query, inputs=inputs)

    def endless(self, inputs: dict[str, Any]) -> dict[str, Any]:
        many = "SELECT sum(x.range * y.range) AS s FROM range(10000000) AS x, range(10000000) AS y, rows"
        return request("process", "sql", {"query": many}, inputs=inputs)


class TestAnalyze(_Suite):
    name = "analyze"

    def asked(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return request("analyze", "describe", {}, inputs=inputs)


class TestStore(_Suite):
    name = "store"

    def asked(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return request(
            "store", "postgres", {"schema": "conformance", "mode": "replace"}, inputs=inputs
        )


class TestPresent(_Suite):
    name = "present"

    def asked(self, inputs: dict[str, Any]) -> dict[str, Any]:
        charts = [{"table": {"of": "rows"}}]
        return request("present", "report", {"charts": charts}, inputs=inputs)


class TestExample(_Suite):
    name = "collect"
    module = "tests.kernel.example"

    def asked(self, inputs: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        return request("collect", "act", {"what": "print"})

    def endless(self, inputs: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        return request("collect", "act", {"what": "wait"})
