"""The loader: every ``workflows/*.yaml`` becomes an Airflow dag of the file's name."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import get_parsing_context
from ropewalk_airflow.dag import dag_of_file

FOLDER = Path(__file__).parent / "workflows"
wanted = get_parsing_context()  # a task's process needs its own dag alone

for path in sorted([*FOLDER.glob("*.yaml"), *FOLDER.glob("*.yml")]):
    if wanted.dag_id in {None, path.stem}:
        globals()[path.stem] = dag_of_file(path, wanted.task_id)
