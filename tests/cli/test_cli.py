"""The command as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ropewalk.contracts.plugins import KINDS, plugin_names
from ropewalk.local.postgres import throwaway

ROOT = Path(__file__).parents[2]
WORKFLOW = """title: Words
steps:
  words:
    collect: files
    with: {path: "data://words.csv", columns: {n: integer}}
  long:
    process: [{sql: "SELECT word, length(word) AS size FROM words"}]
  report:
    present: report
    with: {charts: [{bar: {of: long, x: word, y: size}}]}
"""


def ropewalk(*words: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs the command."""
    return subprocess.run(
        [sys.executable, "-m", "ropewalk.cli", *words], cwd=cwd, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "include"), "COLUMNS": "200", "NO_COLOR": "1", **env},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workflow and its data."""
    (tmp_path / "words.yaml").write_text(WORKFLOW, encoding="utf-8")
    (tmp_path / "words.csv").write_text("n,word\n1,rope\n2,walk\nx,bad\n", encoding="utf-8")
    return tmp_path


def test_check_of_good_files() -> None:
    files = sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "dags" / "workflows").glob("*.yaml")
    )
    done = ropewalk("check", *files)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in files)


def test_check_of_a_bad_file_says_where_and_fails(folder: Path) -> None:
    (folder / "bad.yaml").write_text(WORKFLOW.replace("FROM words", "FROM wrods"), encoding="utf-8")
    done = ropewalk("check", "bad.yaml", "words.yaml", cwd=folder)
    assert done.returncode == 1
    assert "✗ bad.yaml:7:" in done.stdout + done.stderr
    assert "there is no step 'wrods' (did you mean 'words'?)" in done.stdout + done.stderr
    assert "✓ words.yaml: 3 steps" in done.stdout + done.stderr


def test_check_names_a_file_that_is_not_there_by_its_own_path() -> None:
    done = ropewalk("check", "dags/workflows/none.yaml")
    assert done.returncode == 1
    assert "✗ dags/workflows/none.yaml: the file cannot be read" in done.stderr


def test_a_day_that_is_none_is_told_as_such() -> None:
    done = ropewalk("run", "dags/workflows/flights_daily.yaml", "--date", "2013-13-01")
    assert done.returncode == 1
    assert done.stderr == "Error: '2013-13-01' is not a day (write 2013-01-01)\n"


TWO = """title: Two
steps:
  words:
    collect: files
    with: {path: "data://words.csv"}
  long:
    process: [{sql: "SELECT * FROM words"}]
  publish:
    store: postgres
    from: [words, long]
    with:
      mode: replace
      connections: {long: warehouse}
"""


def test_check_says_where_two_databases_cannot_be_written_together(tmp_path: Path) -> None:
    """Before anything runs; and it is said where the connections are not known here."""
    (tmp_path / "two.yaml").write_text(TWO, encoding="utf-8")
    done = ropewalk("check", "two.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "? two.yaml: not asked: this stage has no connection 'results'" in done.stderr
    lake = {
        "ROPEWALK_CONNECTION_RESULTS": "postgresql://nobody@127.0.0.1:1/none",
        "ROPEWALK_CONNECTION_WAREHOUSE": "s3://lake",
    }
    done = ropewalk("check", "two.yaml", cwd=tmp_path, **lake)
    assert "? two.yaml: not asked: the database of 'results' does not answer" in done.stderr
    with throwaway({"max_prepared_transactions": "0"}) as cluster:
        known = {"ROPEWALK_CONNECTION_RESULTS": cluster.superuser}
        done = ropewalk("check", "two.yaml", cwd=tmp_path, **{**lake, **known})
        assert done.returncode == 1
        assert "✗ two.yaml:13:27: the connection 'warehouse' is no PostgreSQL" in done.stderr
        known["ROPEWALK_CONNECTION_WAREHOUSE"] = cluster.superuser_dsn("template1")
        done = ropewalk("check", "two.yaml", cwd=tmp_path, **known)
        assert done.returncode == 1
        assert (
            "✗ two.yaml:13:27: the databases of 'results' and 'warehouse' cannot be" in done.stderr
        )


def test_a_connection_of_a_step_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(TWO.replace("{long:", "{lng:"), encoding="utf-8")
    done = ropewalk("check", "two.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "there is no step 'lng' (did you mean 'long'?)" in done.stderr


def test_run_writes_the_report(folder: Path) -> None:
    done = ropewalk("run", "words.yaml", cwd=folder, ROPEWALK_ROOT_DATA=str(folder))
    assert done.returncode == 0, done.stderr
    (page,) = folder.rglob("index.html")
    assert "Words" in page.read_text(encoding="utf-8")
    assert page.as_uri() in done.stdout
    assert [line.split()[:4] for line in done.stdout.splitlines() if line.strip().startswith("words")] == [
        ["words", "0", "2", "1"]
    ]  # fmt: skip


def test_run_tells_a_steps_error_with_its_place(folder: Path) -> None:
    done = ropewalk("run", "words.yaml", cwd=folder)
    assert done.returncode == 1
    assert "words.yaml:5:5: " in done.stderr + done.stdout
    assert "this stage has no root 'data'" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_run_of_a_partitioned_workflow_needs_a_day() -> None:
    done = ropewalk("run", "dags/workflows/flights_daily.yaml")
    assert done.returncode == 1
    assert "flights_daily runs by day (add --date 2013-01-01)" in done.stderr + done.stdout


def test_describe_names_every_plugin() -> None:
    done = ropewalk("describe")
    assert done.returncode == 0, done.stderr
    ours = [name for name, kind in KINDS.items() if kind.package.startswith("ropewalk.")]
    assert len(ours) == 7, "other tests may bring in kinds of their own"
    assert all(name in done.stdout for kind in ours for name in plugin_names(kind))


def test_the_schema_is_the_one_that_is_committed() -> None:
    for option, name in (((), "workflow.json"), (("--contract",), "contract.json")):
        done = ropewalk("schema", *option)
        assert done.returncode == 0, done.stderr
        committed = json.loads((ROOT / "docs" / "schema" / name).read_text(encoding="utf-8"))
        command = f"ropewalk schema {' '.join(option)} > docs/schema/{name}"
        assert json.loads(done.stdout) == committed, f"it has changed: {command}"


def test_the_page_of_plugins_is_the_one_that_is_committed() -> None:
    committed = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    told = ropewalk("describe", "--markdown").stdout
    assert told == committed, "it has changed: ropewalk describe --markdown > docs/plugins.md"


def test_status_without_an_installation_says_what_to_do(tmp_path: Path) -> None:
    done = ropewalk("status", cwd=tmp_path, ROPEWALK_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "make up" in done.stderr + done.stdout
