"""A place in code that was laid out anew is found in the file that it came from."""

from __future__ import annotations

import pytest
from ropewalk.contracts.models import Written
from ropewalk.contracts.places import place_in

FILE = """|
      -- total of a
      select "a", sum(b)  as total
      /* b, a */ from t where b<>'a -- b'
      group by all
"""
CODE = "SELECT \"a\", SUM(b) AS total FROM t WHERE b <> 'a -- b' GROUP BY ALL"
HERE = Written(file="w.yaml", line=4, column=9, text=FILE)


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ('"a"', (6, 15)),
        ("SUM", (6, 19)),
        ("b)", (6, 23)),
        ("total", (6, 30)),
        ("WHERE", (7, 25)),
        ("b <>", (7, 31)),
        ("ALL", (8, 16)),
    ],
)
def test_a_word_is_found_where_the_file_has_it(word: str, place: tuple[int, int]) -> None:
    assert place_in(HERE, CODE, CODE.index(word)) == place


def test_on_the_first_line_the_column_is_that_of_the_file() -> None:
    written = Written(file="w.yaml", line=4, column=16, text='"n > nn"')
    assert place_in(written, "n > nn", 4) == (4, 21)


@pytest.mark.parametrize(("code", "offset"), [("SELECT a, a, a FROM t", 10), ("", 0), ("x  ", 2)])
def test_what_cannot_be_told_is_not(code: str, offset: int) -> None:
    assert place_in(HERE, code, offset) is None
