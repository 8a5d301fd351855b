"""Airflow as its own processes see it: a home of the tests' own, and the folder of the plugins."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOME = tempfile.mkdtemp(prefix="ropewalk-airflow-")

# Airflow reads its settings when it is first imported.
os.environ.setdefault("AIRFLOW_HOME", HOME)
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
os.environ.setdefault("AIRFLOW__CORE__PLUGINS_FOLDER", str(ROOT / "plugins"))
os.environ.setdefault("AIRFLOW__CORE__DAGS_FOLDER", str(ROOT / "dags"))
sys.path.append(str(ROOT / "plugins"))

LINE = re.compile(r"^\S+ \[\w+ *\] (.*?) +\[airflow\.task\b", re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def logged(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of a task's log since the last look."""
    return LINE.findall(COLOUR.sub("", capsys.readouterr().out))
