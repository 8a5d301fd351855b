"""A few guards switched off in turn, each noticed by a test; ``make mutants`` tries all."""

from __future__ import annotations

import pytest

from tests.chaos.mutants import MUTANTS, Mutant, notices

QUICK = ("link, not rename", "seat", "checksum of a file", "files of an unknown commit")


@pytest.mark.parametrize("name", QUICK)
def test_a_guard_that_is_off_is_noticed(name: str) -> None:
    assert notices(MUTANTS[name])


def test_a_mutant_that_changes_nothing_is_not_noticed() -> None:
    """Else the tests above would pass whatever the guards."""
    nothing = Mutant(
        (("kernel/objects.py", "os.link(draft, path)", "os.link(draft,  path)"),), *_where()
    )
    assert not notices(nothing)


def _where() -> tuple[str, str]:
    mutant = MUTANTS["link, not rename"]
    return mutant.test, mutant.only
