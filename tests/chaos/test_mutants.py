"""A few guards switched off in turn, each noticed by a test; ``make mutants`` tries all."""

from __future__ import annotations

import re

import pytest

from tests.chaos.mutants import MUTANTS, ROOT, SOURCES, Mutant, notices

SUITE = "include/ropewalk/testing/sinks.py"  # whose tests those of the sinks inherit
QUICK = ("link, not rename", "seat", "checksum of a file", "files of an unknown commit")


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_fits_the_sources(name: str) -> None:
    """What it takes away stands there once; and its test is there."""
    for file, text, instead in MUTANTS[name].edits:
        source = (ROOT / SOURCES / file).read_text(encoding="utf-8")
        assert source.count(text) == 1, f"{file} has {text!r} {source.count(text)} times"
        assert text != instead
    tests = "".join(
        (ROOT / path).read_text(encoding="utf-8") for path in (MUTANTS[name].test, SUITE)
    )
    for word in {*re.findall(r"\w+", MUTANTS[name].only)} - {"and", "or", "not"}:
        assert word in tests, f"no test is named {word}"


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
