"""Points at which the product can be killed on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest
from ropewalk.kernel import failpoints
from ropewalk.kernel.failpoints import failpoint


def test_in_production_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "SPEC", "")
    failpoint("sink.copied")


def test_a_point_does_what_is_asked_as_often_as_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, hits = tmp_path / "spec", tmp_path / "hits"
    monkeypatch.setattr(failpoints, "SPEC", f"@{file}")
    monkeypatch.setattr(failpoints, "HITS", str(hits))
    failpoint("sink.copied")
    file.write_text("sink.copied:raise:2")
    failpoint("sink.locked")
    for _ in range(2):
        with pytest.raises(OSError, match="failpoint sink.copied"):
            failpoint("sink.copied")
    failpoint("sink.copied")
    assert [line.split()[0] for line in hits.read_text().splitlines()] == ["sink.copied"] * 3
