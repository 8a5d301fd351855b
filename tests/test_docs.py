"""What the documentation says holds: its workflow is one, its plugin works, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ropewalk.workflow import load

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [text for kind, text in FENCED.findall(page.read_text("utf-8")) if kind == language]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


def test_the_readmes_workflow_is_valid(tmp_path: Path) -> None:
    (text,) = blocks(ROOT / "README.md", "yaml")
    path = tmp_path / "delays.yaml"
    path.write_text(text, encoding="utf-8")
    assert [step.name for step in load(path).order()] == [
        "flights", "by_carrier", "publish", "report",
    ]  # fmt: skip


EXAMPLES = [block for page in PAGES if page.name != "README.md" for block in blocks(page, "yaml")]


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_is_valid(text: str, tmp_path: Path) -> None:
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "seats.sql").write_text("SELECT tailnum FROM planes", encoding="utf-8")
    path = tmp_path / "example.yaml"
    path.write_text(text, encoding="utf-8")
    assert load(path).steps


def test_the_readmes_mistake_is_told_as_it_says(tmp_path: Path) -> None:
    (text,) = blocks(ROOT / "README.md", "yaml")
    path = tmp_path / "dags" / "workflows" / "delays.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("FROM flights", "FROM flihgts"), encoding="utf-8")
    command = [sys.executable, "-m", "ropewalk.cli", "check", "dags/workflows/delays.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    told = re.search(r"^    (✗ .*)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert told is not None
    assert told.group(1) in done.stdout + done.stderr


def test_a_source_is_added_as_contributing_says(tmp_path: Path) -> None:
    """The page's plugin, installed as a package of its own and run; its test, run by pytest."""
    plugin, suite = blocks(ROOT / "CONTRIBUTING.md", "python")
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "counter.py").write_text(plugin, encoding="utf-8")
    info = tmp_path / "mine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ropewalk.source]\nmine = mine\n")
    (tmp_path / "test_counter.py").write_text(suite, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_counter.py"]
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT / 'include'}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
