"""Rows set aside under Airflow, mended at their source, and replayed: each is in the table once."""

from __future__ import annotations

import subprocess
import sys

from tests.e2e.conftest import ROOT, Stack

WORKFLOW = "e2e_quarantine"


def ropewalk(stack: Stack, *words: str) -> str:
    """What the command prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "ropewalk.cli", *words], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**stack.variables, "COLUMNS": "200", "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_mended_row_is_replayed_once(stack: Stack) -> None:
    source = stack.home.path / "data" / "e2e_words.csv"
    source.write_text("n,word\n1,rope\ntwo,walk\n")
    run_id = stack.trigger(WORKFLOW)
    assert stack.finish(WORKFLOW, run_id) == "success"
    assert "n: two is no int64" in ropewalk(stack, "quarantine", "show", run_id)

    source.write_text("n,word\n1,rope\n2,walk\n")
    replayed = ropewalk(stack, "quarantine", "replay", run_id)

    assert [line.split() for line in replayed.splitlines()[1:]] == [["words", "1", "0", "1", "2"]]
    assert stack.query("SELECT n, word FROM e2e_quarantine.words ORDER BY n") == [
        (1, "rope"), (2, "walk"),
    ]  # fmt: skip
    assert "2 rows read, 2 published, 0 in quarantine" in ropewalk(stack, "ledger", run_id)
    assert "has set no row aside" in ropewalk(stack, "quarantine", "replay", run_id)
