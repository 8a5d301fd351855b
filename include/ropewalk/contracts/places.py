"""Where in a file a character of code stands that came to the stage in another layout.

What a file holds and what is parsed differ in white space, comments, quotes and the case of keywords, but not
in which words there are: so the place is that of the same word, counted from the beginning.
"""

from __future__ import annotations

import re

from ropewalk.contracts.models import Written

WORD = re.compile(r"\w+|[^\w\s]")
COMMENT = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)


def place_in(written: Written, text: str, offset: int) -> tuple[int, int] | None:
    """The line and column of the word that ``text`` has at an offset; None where that cannot be told."""
    word = WORD.match(text, _word_start(text, offset))
    if word is None:
        return None
    before, within = _found(word[0], text), _found(word[0], written.text)
    if len(before) != len(within) or word.start() not in before:
        return None
    return _line_and_column(written, within[before.index(word.start())])


def begin_of(written: Written) -> tuple[int, int]:
    """The line and column where the code begins."""
    return written.line, written.column


def _word_start(text: str, offset: int) -> int:
    """Where the first word from an offset on begins; quotes around a name are passed."""
    found = re.compile(r"[\s\"]*").match(text, offset)
    return found.end() if found else offset


def _found(word: str, text: str) -> list[int]:
    """Every place of a word, whatever its case, comments left out."""
    plain = COMMENT.sub(_blank, text)
    edge = r"(?<!\w)", r"(?!\w)"
    pattern = re.escape(word)
    whole = f"{edge[0]}{pattern}{edge[1]}" if word[0].isalnum() or word[0] == "_" else pattern
    return [match.start() for match in re.finditer(whole, plain, re.IGNORECASE)]


def _blank(match: re.Match[str]) -> str:
    """A comment as white space; a text in quotes as it is."""
    return " " * len(match[0]) if match[0][0] in "-/" else match[0]


def _line_and_column(written: Written, offset: int) -> tuple[int, int]:
    lines = written.text.count("\n", 0, offset)
    begin = written.text.rfind("\n", 0, offset) + 1
    return written.line + lines, offset - begin + (1 if lines else written.column)
