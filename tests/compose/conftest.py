"""The stack of ``docker-compose.yaml`` in a project of this test session's own, from images that it builds.

Only `make test-compose` runs what needs an engine; without it, this folder has the tests of the files alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from ropewalk.local.airflow import Client
from ropewalk.local.free_ports import free_port

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
LIMIT = 400.0  # seconds
ENGINE = "ROPEWALK_TEST_COMPOSE"

FIGURES: list[str] = []  # what was measured on the way
STARTED = time.monotonic()

collect_ignore = [] if os.environ.get(ENGINE) else ["test_images.py", "test_stack.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives the tests of a whole stack the time that they need."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(LIMIT + 500))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints what was measured, below the tests' own lines."""
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)
        whole = time.monotonic() - STARTED
        terminalreporter.write_line(f"  {'all of these tests':<28}{whole:6.0f} s")


@dataclass
class Project:
    """A compose project: its secrets, its ports, its DAGs; and what it took to bring it up."""

    folder: Path
    name: str = field(default_factory=lambda: f"ropewalk-test-{secrets.token_hex(3)}")
    airflow_port: int = field(default_factory=free_port)
    present_port: int = field(default_factory=free_port)
    seconds: dict[str, float] = field(default_factory=dict)
    files: tuple[str, ...] = ("docker-compose.yaml",)

    @property
    def variables(self) -> dict[str, str]:
        """What chooses this project among all."""
        return {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_PROFILES": "demo",
            "COMPOSE_FILE": ":".join(self.files),
            "ROPEWALK_SECRETS": str(self.folder / "containers"),
            "ROPEWALK_DAGS_FOLDER": str(self.folder / "dags"),
            "ROPEWALK_VERSION": self.name,
            "ROPEWALK_AIRFLOW_PORT": str(self.airflow_port),
            "ROPEWALK_PRESENT_PORT": str(self.present_port),
        }

    def make(self, *words: str) -> str:
        """What a target of the Makefile prints."""
        return run(["make", "-s", *words], env=self.variables)

    def compose(self, *words: str) -> str:
        """What ``docker compose`` prints."""
        return run(["docker", "compose", *words], env=self.variables)

    def up(self, *words: str) -> None:
        """Have all services running and healthy; remembers how long the first time took, and the last."""
        started = time.monotonic()
        self.compose("up", "--wait", "--no-build", *words)
        how = "up, warm" if "up, cold" in self.seconds else "up, cold"
        self.seconds[how] = time.monotonic() - started

    def execute(self, service: str, *words: str) -> str:
        """What a command prints in a service's container."""
        return self.compose("exec", "-T", service, *words)

    def ropewalk(self, *words: str) -> str:
        """What the command ``ropewalk`` prints."""
        return self.compose("run", "--rm", "-T", "cli", *words)

    def query(self, sql: str, database: str = "ropewalk") -> list[list[str]]:
        """Rows of a query, as the superuser sees them."""
        told = self.execute(
            "postgres", "psql", "-U", "postgres", "-d", database, "-At", "-F", "\t", "-c", sql
        )
        return [line.split("\t") for line in told.splitlines()]

    def images(self) -> list[str]:
        """The names of the images that were built for this project."""
        form = "{{.Repository}}:{{.Tag}}"
        return run(["docker", "image", "ls", "--format", form, f"*:{self.name}"]).split()

    def left(self) -> list[str]:
        """The containers, volumes and networks of the project that the engine has, running or not."""
        mark = ["--filter", f"label=com.docker.compose.project={self.name}", "--quiet"]
        kinds = (["ps", "--all"], ["volume", "ls"], ["network", "ls"])
        return [one for kind in kinds for one in run(["docker", *kind, *mark]).split()]

    def containers(self, *services: str) -> list[dict[str, Any]]:
        """What the engine says of the running containers, of all services or of some."""
        ids = self.compose("ps", "-q", *services).split()
        found: list[dict[str, Any]] = json.loads(run(["docker", "inspect", *ids]))
        return found

    @property
    def airflow(self) -> Client:
        """Airflow, as its user reaches it."""
        file = self.folder / "containers/secrets/airflow-api-server/passwords.json"
        password = json.loads(file.read_text(encoding="utf-8"))["admin"]
        return Client(f"http://127.0.0.1:{self.airflow_port}", password)

    @property
    def session(self) -> httpx.Client:
        """A client of Airflow's REST API."""
        return self.airflow.session()

    def trigger(self, dag: str, day: str | None = None) -> str:
        """Run a DAG by hand, of a partitioned one a day: the run's id."""
        with self.session as session:
            until(lambda: session.get(f"/dags/{dag}").is_success, f"{dag} in Airflow")
            session.patch(f"/dags/{dag}", json={"is_paused": False}).raise_for_status()
            when = None if day is None else f"{day}T05:00:00Z"  # midnight in New York
            answer = session.post(f"/dags/{dag}/dagRuns", json={"logical_date": when})
            assert answer.is_success, answer.text
            run_id: str = answer.json()["dag_run_id"]
            return run_id

    def runs(self, dag: str) -> dict[str, str]:
        """The state of every run of a DAG."""
        with self.session as session:
            answer = session.get(f"/dags/{dag}/dagRuns", params={"limit": 500}).raise_for_status()
            return {one["dag_run_id"]: one["state"] for one in answer.json()["dag_runs"]}

    def finish(self, dag: str, run_id: str) -> str:
        """The state in which a run ends; Airflow may be away meanwhile."""
        state = ""

        def ended() -> bool:
            nonlocal state
            with contextlib.suppress(httpx.HTTPError):
                state = self.runs(dag)[run_id]
            return state in {"success", "failed"}

        until(ended, f"the end of {run_id}")
        return state

    def clear(self, dag: str, run_id: str) -> None:
        """Have all tasks of a run done again."""
        with self.session as session:
            body = {"dry_run": False, "only_failed": False}
            session.post(f"/dags/{dag}/dagRuns/{run_id}/clear", json=body).raise_for_status()

    def owners(self, workflow: str) -> dict[str, str]:
        """The process steps of a workflow that run now, each with the id of the container that does it."""
        rows = self.query(
            "SELECT step, split_part(owner, ':', 1) FROM process.task"
            f" WHERE workflow = '{workflow}' AND state = 'running'"
        )
        return {row[0]: row[1] for row in rows}


def until(met: Callable[[], bool], what: str) -> None:
    """Return when a condition is met."""
    deadline = time.monotonic() + LIMIT
    while not met():
        assert time.monotonic() < deadline, f"waited {LIMIT:.0f} s for {what}"
        time.sleep(0.5)


def run(command: list[str], env: dict[str, str] | None = None) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        command, env=env, cwd=ROOT, capture_output=True, check=False, text=True, errors="replace"
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def project() -> Iterator[Project]:
    """A project whose images are built and whose secrets are made; nothing of it runs yet."""
    folder = Path(tempfile.mkdtemp(prefix="ropewalk-compose-"))
    folder.chmod(0o755)  # the containers' user reads the DAGs
    shutil.copytree(ROOT / "dags", folder / "dags")
    for path in (HERE / "workflows").iterdir():
        shutil.copy(path, folder / "dags" / "workflows")
    one = Project(folder)
    try:
        started = time.monotonic()
        FIGURES.extend(one.make("images").splitlines())
        one.seconds["images built"] = time.monotonic() - started
        one.make("secrets")
        yield one
    finally:
        one.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "3")
        for image in one.images():
            run(["docker", "image", "rm", "--force", image])
        shutil.rmtree(folder)
        assert (one.images(), one.left()) == ([], [])


@pytest.fixture(scope="session")
def stack(project: Project) -> Project:
    """The project, running."""
    project.up()
    return project
