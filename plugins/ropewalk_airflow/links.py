"""Links on a task in Airflow's UI: to the run's report, and to the task's datasets."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

REPORT = "/ropewalk/report"


def report_path(dag_id: str, run_id: str) -> str:
    """Where Airflow shows the report of a run."""
    return f"{REPORT}/{quote(dag_id, safe='')}/{quote(run_id, safe='')}/"


class ReportLink(BaseOperatorLink):
    """The run's report, behind Airflow's own login."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """The page's address."""
        return report_path(ti_key.dag_id, ti_key.run_id)


class DatasetLink(BaseOperatorLink):
    """The step's part of the report: its rows, checks, quarantine and lineage."""

    name = "Dataset"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """The page's address, at the step."""
        return f"{report_path(ti_key.dag_id, ti_key.run_id)}#step-{ti_key.task_id}"
