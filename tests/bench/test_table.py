"""Figures and their table."""

from __future__ import annotations

import pytest
from rich.console import Console

from bench.table import Figure, Skipped, show


@pytest.mark.parametrize(
    ("figure", "ratio", "holds"),
    [
        (Figure("ours", 5, "other", 2, 2.5), 2.5, True),
        (Figure("ours", 5.2, "other", 2, 2.5), 2.6, False),
        (Figure("ours", 2, "other", 8, 4, sense="at least"), 4, True),
        (Figure("ours", 2, "other", 7, 4, sense="at least"), 3.5, False),
        (Figure("ours", 2, "other", 1), 2, None),
    ],
)
def test_a_ratio_is_held_against_its_target(
    figure: Figure, ratio: float, *, holds: bool | None
) -> None:
    assert figure.ratio == pytest.approx(ratio)
    assert figure.holds is holds


def test_the_table_shows_figures_what_was_skipped_and_each_note_once() -> None:
    console = Console(record=True, width=120, quiet=False)
    found: list[Figure | Skipped] = [
        Figure("load", 2.0, "psql", 1.0, 0.45, sense="at least", note="of one table"),
        Figure("copy", 3.0, "pandas", 30.0, note="of one table"),
        Figure("alone", 7.0),
        Skipped("trigger", "nothing runs"),
    ]

    show(console, "loads", found)

    lines = [line.split() for line in console.export_text().splitlines()]
    assert lines == [
        ["loads"],
        ["ours", "against", "ratio", "target"],
        [
            "load",
            "2.00",
            "s",
            "psql",
            "1.00",
            "s",
            "0.50",
            "x",
            "at",
            "least",
            "0.45",
            "x",
            "holds",
        ],
        ["copy", "3.00", "s", "pandas", "30.00", "s", "0.10", "x"],
        ["alone", "7.00", "s"],
        ["of", "one", "table"],
        ["trigger", "skipped:", "nothing", "runs"],
        [],
    ]


def test_no_figure_is_cut_where_the_table_is_narrow() -> None:
    console = Console(record=True, width=72)
    show(console, "loads", [Figure("with 10,000 finished tasks", 10.05, "with none", 10.75, 1.5)])
    text = console.export_text()
    for figure in ("10.05 s", "10.75 s", "0.93 x", "at most 1.5 x", "holds"):
        assert figure in text
