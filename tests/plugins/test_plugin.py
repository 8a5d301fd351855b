"""How Airflow loads us."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.plugins.conftest import ROOT

LOADED = """
import sys
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
assert not errors, errors
assert "ropewalk" in [plugin.name for plugin in plugins], plugins
import operator
assert hasattr(operator, "itemgetter"), "a file of ours stands in for a module of Python's"
import importlib.util
spec = importlib.util.spec_from_file_location("loader", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
assert module.flights_daily.dag_id == "flights_daily"
print(",".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""
DATA = {
    "pyarrow",
    "pandas",
    "numpy",
    "duckdb",
    "sklearn",
    "statsmodels",
    "vl_convert",
    "adbc_driver_postgresql",
}


def test_airflow_finds_the_plugin_and_the_dags_and_loads_no_data_library() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "include")}
    command = [sys.executable, "-c", LOADED, str(ROOT / "dags" / "workflows.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.strip().splitlines()[-1].split(","))
    assert loaded & DATA == set()


WARMED = """
import sys
sys.path[:0] = [sys.argv[2], sys.argv[3]]
import ropewalk_airflow.plugin
from pathlib import Path
from ropewalk_airflow.dag import dag_of_file
before = set(sys.modules)
assert "invalid" not in dag_of_file(Path(sys.argv[4])).tags
print(",".join(set(sys.modules) - before))
"""


def test_a_task_of_the_scheduler_loads_no_more_code_to_read_its_workflow() -> None:
    folders = [
        str(ROOT / name) for name in ("plugins", "include", "dags/workflows/flights_daily.yaml")
    ]
    command = [sys.executable, "-c", WARMED, "scheduler", *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


FORKED = """
import gc, os, sys
sys.path[:0] = sys.argv[2:4]
import ropewalk_airflow.plugin
assert gc.get_freeze_count() == 0
if os.fork():
    os.wait()
    print(gc.get_freeze_count() > 100_000)
else:  # a worker, which forks tasks for as long as it lives
    gc.unfreeze()
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    print(gc.get_freeze_count())
"""


@pytest.mark.parametrize(
    ("component", "frozen"), [("scheduler", "True"), ("dag-processor", "False")]
)
def test_the_scheduler_alone_keeps_what_was_loaded_when_it_forks(
    component: str, frozen: str
) -> None:
    folders = [str(ROOT / name) for name in ("plugins", "include")]
    command = [sys.executable, "-c", FORKED, component, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "0",
        str(frozen),
    ]  # what a worker keeps, and what its parent does
