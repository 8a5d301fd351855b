"""What Airflow finds: the timetable, the links, and the report of a run as a tab behind Airflow's own login."""

from __future__ import annotations

import gc
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from airflow import settings
from airflow.plugins_manager import AirflowPlugin

from ropewalk_airflow.links import DatasetLink, ReportLink
from ropewalk_airflow.timetable import WorkflowTimetable

SECONDS = 2.0  # that the scheduler reads workflows when it starts
SMALL = """
steps:
  rows: {collect: files, with: {path: "data://rows.csv", columns: {n: integer}}}
  sums: {process: [{sql: SELECT sum(n) AS n FROM rows}], checks: [{not_null: [n]}]}
  kept: {store: postgres, from: sums, with: {connection: results, mode: replace}}
"""


class RopewalkPlugin(AirflowPlugin):
    """Ropewalk's parts of Airflow."""

    name = "ropewalk"
    timetables = [WorkflowTimetable]
    operator_extra_links = [ReportLink(), DatasetLink()]
    external_views = [
        {
            "name": "Report",
            "href": "/ropewalk/report/{DAG_ID}/{RUN_ID}/",
            "destination": "dag_run",
            "url_route": "ropewalk_report",
        },
        {
            "name": "Reports",
            "href": "/ropewalk/report/{DAG_ID}/",
            "destination": "dag",
            "url_route": "ropewalk_reports",
        },
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The pages of the reports; made in the API server alone, which alone asks for them."""
        from ropewalk_airflow.web import application

        return [{"app": application(), "url_prefix": "/ropewalk", "name": "Ropewalk"}]


def warm() -> None:
    """Load what every task needs: the scheduler's workers fork from it, and a task from a worker.

    It saves each task 0.3 s of computing, and costs the scheduler some megabytes that all of them share. The DAG
    processor forks a process each time that it looks at the files.
    """
    import jwt  # noqa: F401
    from ropewalk.contracts.plugins import KINDS, all_plugins
    from ropewalk.workflow import loads

    from ropewalk_airflow.dag import workflow_dag

    for kind in KINDS:
        for found in all_plugins(kind):
            found.info()
    workflow_dag(loads(SMALL, Path("small.yaml")))  # reading SQL and naming tables load more
    _read_workflows(Path(settings.DAGS_FOLDER) / "workflows")


def _read_workflows(folder: Path) -> None:
    """Read the workflows, or some of many: a task knows SQL that has been read before, by its text."""
    from ropewalk_airflow.dag import dag_of_file

    deadline = time.monotonic() + SECONDS
    for path in sorted(folder.glob("*.y*ml")):
        if time.monotonic() < deadline:
            dag_of_file(path)


def _freeze(parent: int) -> None:
    """What has been loaded is looked through for garbage no more: each look copies what a child shares.

    Garbage of that moment stays, too: it is for a process that forks a few times in its life.
    """
    if os.getpid() == parent:
        gc.freeze()


if {"scheduler", "dag-processor"} & set(sys.argv):
    warm()
if "scheduler" in sys.argv:  # the DAG processor forks for as long as it lives, as a worker does
    os.register_at_fork(before=partial(_freeze, os.getpid()))
