"""A whole installation of this test session's own, brought up as a user does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
from ropewalk.local.airflow import Client
from ropewalk.local.environment import environment
from ropewalk.local.free_ports import free_port
from ropewalk.local.home import Home
from ropewalk.local.ports import NAMES

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
LIMIT = 600.0  # seconds


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives the tests of a whole stack the time that they need."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(LIMIT + 300))


@dataclass
class Stack:
    """A running installation: its folder, its DAGs, and what `make up` printed."""

    home: Home
    dags: Path
    printed: str

    @property
    def endpoints(self) -> dict[str, Any]:
        """What programs find in ``endpoints.json``."""
        found: dict[str, Any] = json.loads(self.home.endpoints.read_text(encoding="utf-8"))
        return found

    def local(self, *words: str) -> str:
        """What a command of the stack prints."""
        return run([sys.executable, "-m", "ropewalk.local", *words], env=self.variables)

    @property
    def variables(self) -> dict[str, str]:
        """What chooses this installation among all."""
        return {
            **os.environ,
            "ROPEWALK_HOME": str(self.home.path),
            "ROPEWALK_PORT_BASE": str(self.home.port_base),
            "ROPEWALK_DAGS_FOLDER": str(self.dags),
        }

    def shell(self, *words: str) -> str:
        """What a command prints in the environment of ``make shell``."""
        return run(list(words), env={**self.variables, **environment(self.home)})

    def airflow(self, *words: str) -> str:
        """What the ``airflow`` command prints there."""
        return self.shell("airflow", *words)

    @property
    def session(self) -> httpx.Client:
        """A client of Airflow's REST API."""
        airflow = self.endpoints["airflow"]
        return Client(airflow["url"], airflow["password"]).session()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the results, as their reader sees them."""
        with psycopg.connect(self.endpoints["postgres"]["results"]) as connection:
            return connection.execute(sql).fetchall()

    def trigger(self, dag: str, **conf: Any) -> str:
        """Trigger a DAG as the form does: the run's id."""
        with self.session as session:
            session.patch(f"/dags/{dag}", json={"is_paused": False}).raise_for_status()
            body = {"logical_date": None, "conf": conf}
            answer = session.post(f"/dags/{dag}/dagRuns", json=body)
            assert answer.is_success, answer.text
            run_id: str = answer.json()["dag_run_id"]
            return run_id

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """All runs of a DAG."""
        with self.session as session:
            found: list[dict[str, Any]] = session.get(
                f"/dags/{dag}/dagRuns", params={"limit": 500}
            ).json()["dag_runs"]
            return found

    def tasks(self, dag: str, run_id: str) -> dict[str, str]:
        """The state of every task of a run."""
        with self.session as session:
            found = session.get(f"/dags/{dag}/dagRuns/{run_id}/taskInstances").json()[
                "task_instances"
            ]
            return {task["task_id"]: task["state"] for task in found}

    def links(self, dag: str, run_id: str, task: str) -> dict[str, str]:
        """The links that Airflow shows for a task."""
        with self.session as session:
            path = f"/dags/{dag}/dagRuns/{quote(run_id)}/taskInstances/{task}/links"
            found: dict[str, str] = session.get(path).json()["extra_links"]
            return found

    def page(self, path: str) -> httpx.Response:
        """What Airflow shows at an address, to its user."""
        with self.session as session:
            return session.get(httpx.URL(self.endpoints["airflow"]["url"]).join(path))

    def finish(self, dag: str, run_id: str) -> str:
        """The state in which a run ends."""
        until(lambda: self.state(dag, run_id) in {"success", "failed"}, f"the end of {run_id}")
        return self.state(dag, run_id)

    def state(self, dag: str, run_id: str) -> str:
        """The state of a run."""
        with self.session as session:
            state: str = session.get(f"/dags/{dag}/dagRuns/{run_id}").json()["state"]
            return state

    def log(self, dag: str, run_id: str, task: str) -> str:
        """The log of a task's first try, as the web UI shows it."""
        with self.session as session:
            path = f"/dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/logs/1"
            return session.get(path, headers={"accept": "application/json"}).text


def until(met: Callable[[], bool], what: str) -> None:
    """Return when a condition is met."""
    deadline = time.monotonic() + LIMIT
    while not told(met):
        assert time.monotonic() < deadline, f"waited {LIMIT:.0f} s for {what}"
        time.sleep(0.3)


def told(met: Callable[[], bool]) -> bool:
    """Whether a condition is met; an answer that a busy machine does not give in time is asked for again."""
    try:
        return met()
    except httpx.TransportError:
        return False


def run(command: list[str], env: dict[str, str]) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """An installation with the repository's workflows and those of the tests.

    Its folder is none of pytest's: another session of pytest closes those to the account of Postgres.
    """
    folder = Path(tempfile.mkdtemp(prefix="ropewalk-e2e-"))
    folder.chmod(0o711)
    dags = folder / "dags"
    shutil.copytree(ROOT / "dags", dags)
    for path in (HERE / "workflows").iterdir():
        shutil.copy(path, dags / "workflows")
    one = Stack(Home(folder / "home", free_port(len(NAMES))), dags, "")
    try:
        one.printed = one.local("up")
        yield one
    finally:
        one.local("down")
        one.local("remove")
        shutil.rmtree(folder)
