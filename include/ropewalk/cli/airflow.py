"""Airflow's REST API, as the local installation's user or another that the environment names."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from ropewalk.contracts.errors import ConfigError, NotFoundError, RetryableError

TIMEOUT = 30.0
CLOCKS_APART = 1.5  # seconds
API = "/api/v2"


class ExistsError(ConfigError):
    """What is asked for is there already."""


@contextmanager
def airflow() -> Iterator[Airflow]:
    """A session with the Airflow of ``endpoints.json``."""
    address = _address()
    with httpx.Client(timeout=TIMEOUT, trust_env=False, base_url=address["url"]) as client:
        yield Airflow(client, address)


def home() -> Path:
    """The folder of the local installation."""
    return Path(os.environ.get("ROPEWALK_HOME", ".ropewalk"))


def _address() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads((home() / "endpoints.json").read_text(encoding="utf-8"))[
            "airflow"
        ]
    except (OSError, ValueError, KeyError):
        raise ConfigError(
            f"there is no installation in {home()}", hint="make up, or set ROPEWALK_HOME"
        ) from None
    return found


class Airflow:
    """Runs of DAGs: asked for, followed, stopped; RetryableError while Airflow does not answer."""

    def __init__(self, client: httpx.Client, address: dict[str, str]) -> None:
        self._client, self._address = client, address
        self._log_in()

    def now(self) -> int:
        """Microseconds since 1970, by Airflow's clock where this machine's differs from it by more than a second.

        HTTP tells whole seconds (RFC 9110, 6.6.1): clocks in step are not brought out of it by that.
        """
        begun = time.time()
        told = self._ask("GET", f"{API}/version").headers.get("date")
        ours = (begun + time.time()) / 2
        theirs = parsedate_to_datetime(told).timestamp() + 0.5 if told else ours
        return int(1_000_000 * (theirs if abs(theirs - ours) > CLOCKS_APART else ours))

    def dag(self, name: str) -> dict[str, Any]:
        """What Airflow knows of a DAG; NotFoundError where there is none."""
        found: dict[str, Any] = self._call("GET", f"/dags/{name}")
        return found

    def trigger(self, dag: str, run: str, conf: dict[str, Any]) -> None:
        """Ask for a run; where there is one of that id, it has been asked for, and the answer was lost."""
        body = {"dag_run_id": run, "logical_date": None, "conf": conf}
        with suppress(ExistsError):
            self._call("POST", f"/dags/{dag}/dagRuns", json=body)

    def run(self, dag: str, run: str) -> dict[str, Any]:
        """How a run stands."""
        found: dict[str, Any] = self._call("GET", f"/dags/{dag}/dagRuns/{run}")
        return found

    def runs(self, dag: str, limit: int = 50) -> list[dict[str, Any]]:
        """The latest runs that have succeeded."""
        query = {"limit": limit, "order_by": "-start_date", "state": "success"}
        found: list[dict[str, Any]] = self._call("GET", f"/dags/{dag}/dagRuns", params=query)[
            "dag_runs"
        ]
        return found

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """The tasks of a run."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances"
        found: list[dict[str, Any]] = self._call("GET", path)["task_instances"]
        return found

    def left(self, dag: str, run: str, task: str, key: str) -> Any:
        """What a task has left under a key; None where it is nothing."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/{key}"
        try:
            return self._call("GET", path, params={"deserialize": "true"})["value"]
        except NotFoundError:
            return None

    def clear(self, dag: str, run: str, tasks: list[str]) -> None:
        """Have tasks of a run done again, with all before and after them, as the workflow's file is now."""
        body = {
            "dry_run": False, "dag_run_id": run, "task_ids": tasks, "only_failed": False,
            "include_upstream": True, "include_downstream": True, "run_on_latest_version": True,
        }  # fmt: skip
        self._call("POST", f"/dags/{dag}/clearTaskInstances", json=body)

    def stop(self, dag: str, run: str) -> None:
        """Fail a run: what it does now is cancelled."""
        self._call("PATCH", f"/dags/{dag}/dagRuns/{run}", json={"state": "failed"})

    def _log_in(self) -> None:
        user = {name: self._address[name] for name in ("username", "password")}
        answer = self._ask("POST", "/auth/token", json=user)
        if answer.is_error:
            raise ConfigError("Airflow refuses the user of endpoints.json", code="unauthorized")
        self._client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"

    def _call(self, method: str, path: str, **more: Any) -> Any:
        answer = self._ask(method, API + path, **more)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:  # a token's day is over
            self._log_in()
            answer = self._ask(method, API + path, **more)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise NotFoundError(f"Airflow has no {path}")
        if answer.status_code == HTTPStatus.CONFLICT:
            raise ExistsError(f"Airflow refuses: {_said(answer)}", code="airflow")
        if answer.is_error:
            raise ConfigError(f"Airflow refuses: {_said(answer)}", code="airflow")
        return answer.json() if answer.content else None

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Airflow's answer, whatever it says of the request; RetryableError where there is none."""
        try:
            answer = self._client.request(method, path, **more)
        except httpx.TransportError as error:
            raise RetryableError(
                f"Airflow at {self._address['url']} does not answer ({type(error).__name__})",
                code="airflow_away", hint="make status",
            ) from None  # fmt: skip
        if answer.is_server_error:
            raise RetryableError(f"Airflow answers {answer.status_code}", code="airflow_away")
        return answer


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code}"
