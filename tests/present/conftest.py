"""A small run of hostile rows, from a CSV file to its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ropewalk.contracts.models import Report, TaskRequest
from ropewalk.testing.bench import DAY, TaskBench

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
CSV = f'n,word,delay\n1,"{EVIL}",1.5\n2,b,2.5\nx,"{EVIL}",3\n4,c,900\n'
CHARTS: list[dict[str, Any]] = [
    {"number": {"of": "clean", "title": "Rows", "width": "third"}},
    {"bar": {"of": "clean", "x": "word", "y": "delay", "title": EVIL, "note": EVIL}},
    {"histogram": {"of": "clean", "x": "delay"}},
    {"table": {"of": "clean", "title": "All"}},
]


def steps(bench: TaskBench, root: Path, run: str = "run-1") -> dict[str, Report]:
    """The reports of all steps before the page."""
    (root / "days.csv").write_text(CSV, encoding="utf-8")
    columns = {"n": "integer", "word": "string", "delay": "double"}
    days = bench.run(
        "collect", [("files", {"path": "data://days.csv", "columns": columns})],
        step="days", run=run, partition=DAY,
    )  # fmt: skip
    clean = bench.run(
        "process",
        [("sql", "SELECT * FROM days")],
        inputs={"days": days.output},
        checks=[("between", {"column": "delay", "max": 100, "on_fail": "quarantine"})],
        step="clean", run=run, partition=DAY,
    )  # fmt: skip
    return {"days": days, "clean": clean}


def page(
    bench: TaskBench, reports: dict[str, Report], run: str = "run-1", **options: Any
) -> TaskRequest:
    """What the run asks of the present stage."""
    return bench.request(
        "present",
        [("report", {"title": f"Late {EVIL}", "intro": EVIL, "charts": CHARTS, **options})],
        inputs={"clean": reports["clean"].output},
        upstream={name: report.key for name, report in reports.items()},
        step="report", run=run, partition=DAY,
    )  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root ``data://``."""
    monkeypatch.setenv("ROPEWALK_ROOT_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def bench(tmp_path: Path) -> TaskBench:
    """The stages, with a dataset store of their own, and pictures kept with the page."""
    return TaskBench(tmp_path / "home", pictures="kept")


@pytest.fixture
def folder(bench: TaskBench, root: Path, tmp_path: Path) -> Path:
    """The files of the report, in a folder."""
    report = bench.perform(page(bench, steps(bench, root)))
    out = tmp_path / "out"
    out.mkdir()
    for name in report.artifacts:
        (out / name).write_bytes(bench.store.artifact(report.key, name)[0])
    return out
