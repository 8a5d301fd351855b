"""Who may import whom: dags → plugins → workflow → contracts, and stage → kernel → contracts."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INCLUDE = ROOT / "include"
STAGES = ("collect", "process", "analyze", "store", "present")
HEAVY = {
    "adbc_driver_manager", "adbc_driver_postgresql", "altair", "boto3", "duckdb", "numpy", "pandas", "pyarrow",
    "sklearn", "statsmodels", "vl_convert",
}  # fmt: skip

# What each part of Ropewalk may import of Ropewalk, itself not named.
MAY = {
    "contracts": {"ropewalk"},
    "workflow": {"contracts"},
    "kernel": {"ropewalk", "contracts"},
    **{stage: {"ropewalk", "contracts", "kernel"} for stage in STAGES},
    "local": {"contracts"},
    "cli": {"ropewalk", "contracts", "workflow", "kernel"},
    "testing": {"ropewalk", "contracts", "kernel", "workflow", "present", "local"},
    "ropewalk_airflow": {"contracts", "workflow"},
}


def imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Every module that a file imports: its line, its name, and whether at the top of the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(outer, ast.If) and "TYPE_CHECKING" in ast.dump(outer.test))
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name, id(node) not in inside) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module, id(node) not in inside


def part(path: Path) -> str:
    """The part of Ropewalk that a file belongs to."""
    inside = path.relative_to(INCLUDE / "ropewalk" if INCLUDE in path.parents else ROOT / "plugins")
    return inside.parts[0].removesuffix(".py")


def files() -> list[Path]:
    """All files of the product."""
    return [
        *sorted((INCLUDE / "ropewalk").rglob("*.py")),
        *sorted((ROOT / "plugins").rglob("*.py")),
    ]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_part_imports_only_what_it_may(path: Path) -> None:
    here = part(path)
    wrong = []
    for line, name, _ in imports(path):
        if not name.startswith("ropewalk"):
            continue
        target = name.split(".")[1] if "." in name else name
        if name.startswith("ropewalk_airflow"):
            target = "ropewalk_airflow"
        if target != here and target not in MAY.get(here, {target}):
            wrong.append(
                f"{path.relative_to(ROOT)}:{line}: {here} may not import {name}: only {sorted(MAY[here])}"
            )
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_plugins_import_airflow(path: Path) -> None:
    if part(path) == "ropewalk_airflow":
        return
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for line, name, _ in imports(path)
        if name.split(".")[0] == "airflow"
    ]
    assert not wrong, f"only plugins/ropewalk_airflow imports Airflow: {wrong}"


LIGHT = """
import importlib, pathlib, sys
for folder in sys.argv[1:]:
    for path in sorted(pathlib.Path(folder).rglob("*.py")):
        parts = path.relative_to(sys.path[0]).with_suffix("").parts
        if parts[-1] not in ("__main__",):
            importlib.import_module(".".join(parts).removesuffix(".__init__"))
print(",".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""
LIGHT_PARTS = (
    "contracts", "workflow", "collect/sources", "process/transforms", "process/checks", "analyze/analyses",
    "store/sinks", "present/charts", "present/pages",
)  # fmt: skip


@pytest.mark.parametrize("name", LIGHT_PARTS)
def test_what_airflow_imports_is_light(name: str) -> None:
    code = f"import sys; sys.path[0] = {str(INCLUDE)!r}\n{LIGHT}"
    command = [sys.executable, "-c", code, str(INCLUDE / "ropewalk" / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.strip().split(",")) & HEAVY == set()


def test_what_airflow_does_with_a_file_is_light() -> None:
    """Reading a workflow with every kind of step, its SQL included."""
    code = (
        "import sys; from pathlib import Path; from ropewalk.workflow import load\n"
        "load(Path(sys.argv[1])); print(','.join({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code, str(ROOT / "dags/workflows/flights_daily.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.strip().split(",")) & HEAVY == set()


def test_reading_a_workflow_file_is_light(tmp_path: Path) -> None:
    """Its columns are told by the plugins' own functions, which import nothing heavy for that."""
    code = (
        "import sys, ropewalk.workflow\n"
        f"for file in {[str(path) for path in (ROOT / 'dags' / 'workflows').glob('*.yaml')]!r}:\n"
        "    ropewalk.workflow.load(file)\n"
        "print(','.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    command = [sys.executable, "-c", code]
    env = {"PYTHONPATH": str(INCLUDE), "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert set(done.stdout.strip().split(",")) & HEAVY == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_service_process_imports_no_data_library(stage: str) -> None:
    """What is heavy is in the fork server alone, which the service's children share."""
    if not (INCLUDE / "ropewalk" / stage / "stage.py").exists():
        pytest.fail(f"ropewalk/{stage}/stage.py is missing")
    code = (
        f"import sys, ropewalk.kernel.service, ropewalk.{stage}.stage\n"
        "print(','.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.strip().split(",")) & HEAVY == set()
