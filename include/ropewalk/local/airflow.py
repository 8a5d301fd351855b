"""Airflow as this installation runs it: its settings file, its user, and a client for its REST
API.
"""

from __future__ import annotations

import configparser
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from ropewalk.local.home import REPOSITORY, Home, write_private

USER = "admin"
HEALTH = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}


def settings(
    home: Home, *, port: int, dsn: str, secrets: Mapping[str, str], dags: Path
) -> dict[str, dict[str, str]]:
    """Airflow's settings by section: what differs from its defaults, and why where it is not
    plain.
    """
    url = f"http://127.0.0.1:{port}"
    folder = home.path / "airflow"
    lineage = {
        "type": "file",
        "log_file_path": str(home.folder("lineage") / "events.jsonl"),
        "append": True,
    }
    return {
        "core": {
            "dags_folder": str(dags),
            "plugins_folder": str(REPOSITORY / "plugins"),
            "load_examples": "False",
            "executor": "LocalExecutor",
            "parallelism": "4",  # each slot is a process of some 30 MB, used or not
            "fernet_key": secrets["airflow_fernet"],
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": str(folder / "passwords.json"),
            "execution_api_server_url": f"{url}/execution/",
            "min_serialized_dag_update_interval": "0",
        },
        "database": {"sql_alchemy_conn": dsn.replace("postgresql://", "postgresql+psycopg2://", 1)},
        "api": {
            "host": "127.0.0.1",
            "port": str(port),
            "base_url": url,
            "workers": "1",
            "secret_key": secrets["airflow_api"],
            "instance_name": "Ropewalk",
        },
        "api_auth": {"jwt_secret": secrets["airflow_jwt"]},
        "scheduler": {
            "scheduler_idle_sleep_time": "0.25",  # less: a core spins; more: each step waits
            # What a killed scheduler or worker leaves behind is taken up in a minute, not in five.
            "task_instance_heartbeat_timeout": "60",
            "orphaned_tasks_check_interval": "30",
        },
        "workers": {
            "min_heartbeat_interval": "1"
        },  # else a slot stays taken for up to 5 s after its task
        "dag_processor": {
            "refresh_interval": "5",
            "min_file_process_interval": "10",
            "parsing_processes": "1",
        },
        "logging": {"base_log_folder": str(folder / "logs"), "colored_console_log": "False"},
        "openlineage": {"namespace": "ropewalk", "transport": json.dumps(lineage)},
        "usage_data_collection": {"enabled": "False"},
    }


def settings_text(chosen: Mapping[str, Mapping[str, str]]) -> str:
    """The text of ``airflow.cfg``."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict(chosen)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue().replace("%", "%%")


def write_settings(home: Home, chosen: Mapping[str, Mapping[str, str]], password: str) -> str:
    """Writes ``airflow.cfg`` and the user's password file, both for the owner alone; gives the
    settings' text.
    """
    folder = home.folder("airflow")
    escaped = settings_text(chosen)
    write_private(folder / "airflow.cfg", escaped)
    write_private(folder / "passwords.json", json.dumps({USER: password}))
    return escaped


@dataclass(frozen=True)
class Client:
    """Airflow's REST API, as the installation's user."""

    url: str
    password: str

    def session(self) -> httpx.Client:
        """An HTTP client that is logged in."""
        answer = httpx.post(
            f"{self.url}/auth/token",
            json={"username": USER, "password": self.password},
            timeout=30,
            trust_env=False,
        )
        answer.raise_for_status()
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        return httpx.Client(
            base_url=f"{self.url}/api/v2", headers=headers, timeout=30, trust_env=False
        )

    def alive_since(self, component: str, started: float) -> bool:
        """Whether a component has sent a heartbeat to the API server since then (seconds since
        1970).
        """
        health = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=10, trust_env=False)
        health.raise_for_status()
        name = HEALTH[component]
        state = health.json()[name]
        beat = state[f"latest_{name}_heartbeat"]
        return state["status"] == "healthy" and datetime.fromisoformat(beat).timestamp() >= started
