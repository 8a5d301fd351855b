"""Timing in turns."""

from __future__ import annotations

from functools import partial

from rich.console import Console

from bench.clock import alternate


def test_rivals_run_in_turns_and_none_always_after_the_same() -> None:
    ran: list[str] = []

    taken = alternate(
        Console(quiet=True), {name: partial(ran.append, name) for name in ("a", "b")}, rounds=3
    )

    assert ran == ["a", "b", "b", "a", "a", "b"]
    assert taken.keys() == {"a", "b"}
    assert all(seconds >= 0 for seconds in taken.values())
