"""`ropewalk keys` and `ropewalk token`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from ropewalk.cli.keys import token, write_keys
from ropewalk.contracts.errors import ConfigError
from ropewalk.kernel.tokens import Verifier

HOUR = timedelta(hours=1)
KEY = "ab" * 32


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A new pair, the private one first."""
    return write_keys(tmp_path / "keys")


def test_a_pair_signs_and_checks(keys: tuple[Path, Path]) -> None:
    private, public = keys
    assert private.stat().st_mode & 0o777 == 0o600
    verifier = Verifier(public.read_text(encoding="utf-8"), ("store",))
    whole = verifier.grant(f"Bearer {token('store', [], HOUR, private)}")
    assert whole.allows("metrics")
    assert whole.allows(f"task:{KEY}")
    narrow = verifier.grant(f"Bearer {token('store', [f'task:{KEY}'], HOUR, private)}")
    assert narrow.scope == {f"task:{KEY}"}


def test_a_pair_is_never_written_over(keys: tuple[Path, Path]) -> None:
    before = [path.read_bytes() for path in keys]
    with pytest.raises(ConfigError, match="is there already"):
        write_keys(keys[0].parent)
    assert [path.read_bytes() for path in keys] == before


@pytest.mark.parametrize(
    ("right", "hint"),
    [
        ("metric", "did you mean 'metrics'?"),
        ("task:abc", "did you mean 'tasks'?"),
        (f"dataset:{KEY}", "valid: datasets, describe, garbage, metrics, reports, tasks"),
    ],
)
def test_a_right_that_is_none_is_told(keys: tuple[Path, Path], right: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no right '{right}'") as caught:
        token("store", ["tasks", right], HOUR, keys[0])
    assert caught.value.hint == hint


def test_where_no_key_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no signing key in"):
        token("store", [], HOUR, tmp_path / "none.pem")
