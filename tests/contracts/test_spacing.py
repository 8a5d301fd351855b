"""SQL of any dialect in one spacing: what its layout is does not matter, and nothing that is quoted changes."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ropewalk.contracts.spacing import AMBIGUOUS, spaced
from ropewalk.contracts.template import REFERENCE

GAPS = st.text(" \t\r\n", min_size=1, max_size=4)
WORDS = st.from_regex(r"[a-pr-z_][a-z0-9_.]{0,5}", fullmatch=True)
INSIDE = st.text("ab \t\n-/*[]{}(),;:$%", max_size=8)
QUOTED = st.builds("{0}{1}{0}".format, st.sampled_from("'\"`"), INSIDE)
PLAIN = st.sampled_from([*"(),+*/<=;?:", "-", "->", "::", "{{ params.x }}", "{{params.x}}", "1.5"])
COMMENTS = st.builds("-- {}\n".format, st.text("ab  '\"-/*", max_size=6))
HINTS = st.builds("/*+{}*/".format, st.text("ab \n'-", max_size=6))
TOKENS = st.lists(st.one_of(WORDS, QUOTED, PLAIN, COMMENTS, HINTS), min_size=1, max_size=8)


def laid(tokens: list[str], gaps: list[str]) -> str:
    """The tokens with white space between them."""
    return "".join(part for pair in zip(gaps, tokens, strict=False) for part in pair)


@given(
    st.lists(st.tuples(GAPS, st.one_of(WORDS, QUOTED, PLAIN, HINTS), GAPS), min_size=1, max_size=8)
)
def test_how_it_is_laid_out_does_not_matter_and_what_is_quoted_stays(
    items: list[tuple[str, str, str]],
) -> None:
    told = spaced(",".join(f" {token} " for _, token, _ in items))
    assume(not AMBIGUOUS.search(told))
    assert spaced(",".join("".join(item) for item in items)) == told
    for _, token, _ in items:
        assert REFERENCE.sub(r"{{ \1 }}", token) in told


@given(
    st.text("ab \n", min_size=1, max_size=8), st.text("ab \n", max_size=8), st.sampled_from("'\"`")
)
def test_what_is_quoted_does_matter(one: str, other: str, quote: str) -> None:
    both = [spaced(f"a  = {quote}{inside}{quote}") for inside in (one, other)]
    assert (both[0] == both[1]) == (one == other)


@given(TOKENS, st.data())
def test_it_is_written_so_once(tokens: list[str], data: st.DataObject) -> None:
    text = laid(tokens, data.draw(st.lists(GAPS, min_size=len(tokens), max_size=len(tokens))))
    assert spaced(spaced(text)) == spaced(text)


ITEMS = st.one_of(
    st.builds("'{}'".format, INSIDE),
    st.sampled_from(
        ["1", "2 - 1", "-1", "'it''s  so'", "7 /2", '"a  b"', "[a  b]", "`a  b`", "x'00'"]
    ),
)
BETWEEN = st.lists(st.one_of(GAPS, COMMENTS, HINTS), min_size=1, max_size=3).map("".join)


@given(st.lists(st.tuples(BETWEEN, ITEMS, BETWEEN), min_size=1, max_size=5))
def test_a_database_finds_the_same(items: list[tuple[str, str, str]]) -> None:
    listed = ",".join("".join(item) for item in items)
    text = f"SELECT {listed}\nFROM (SELECT 'c' AS \"a  b\") --  it is\n  WHERE 1\n"
    with sqlite3.connect(":memory:") as database:
        assert database.execute(spaced(text)).fetchall() == database.execute(text).fetchall()
    database.close()


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("select  a,\n       b\nfrom t ", "select a, b from t"),
        ("select 'a  b', \"c  d\"  from t", "select 'a  b', \"c  d\" from t"),
        ("select a --  why\n   from t", "select a --  why\nfrom t"),
        ("where t>={{partition.start}}", "where t>={{ partition.start }}"),
        ("select /*+ full(t)  */  a", "select /*+ full(t)  */ a"),
    ],
)
def test_what_a_key_has_of_a_query_stays_as_it_is(written: str, kept: str) -> None:
    assert spaced(written) == kept


@pytest.mark.parametrize(
    "text",
    [
        r"select  'it\'s  here', 'b'",  # MySQL's escape
        "select  $$a  b$$",  # PostgreSQL's quotes, and Oracle's
        "select  q'[it's  a 'b']'",
        "select  '''a 'b  c' d'''",  # BigQuery's
        "select  a # it's\n  , 'b  c'",  # a comment in MySQL, an operator in PostgreSQL
        "select  'a'\n  'b'",  # one text, in two lines alone
        "select  5--'a\n  b'",
        "select  [a]]b  c]",
        "select  a /* /* */  b */",
        "select  'a",
    ],
)
def test_what_dialects_read_differently_is_left_as_it_is(text: str) -> None:
    assert spaced(text) == text
