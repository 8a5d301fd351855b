"""One spacing for SQL of any dialect, so that how it is laid out is no reason to ask a database again.

The dialect is not known, so nothing is parsed: white space is one space wherever every dialect reads it as no more than
that. What is quoted stays as it is, and so do comments, which may be hints, and the ends of lines that end one.
"""

from __future__ import annotations

import re

from ropewalk.contracts.template import REFERENCE

TOKEN = re.compile(
    r"""(?P<kept>'[^']*'|"[^"]*"|`[^`]*`|\[[^\]'"`]*\]|/\*.*?\*/)"""
    r"""|(?P<line>--[^\n]*(?:\n[ \t\r\n]*)?)"""
    r"""|(?P<space>[ \t\r\n]+)"""
    r"""|(?P<plain>[^\s'"`\[/-]+|\[(?![^'"`\]]*['"`])|[/-](?![*])|[\f\v])""",
    re.DOTALL,
)
AMBIGUOUS = re.compile(
    r"""\'\'\'|\"\"\"|\\|#"""  # texts in three quotes, escapes, and what is a comment in MySQL alone
    r"""|\$\w*\$|\b[nN]?[qQ]\'"""  # quotes of PostgreSQL's and Oracle's own
    r"""|\]\]"""  # a bracket in a name in brackets
    r"""|\'\s*\n\s*\'"""  # two texts that a line's end makes one
    r"""|--[^\s][^\n]*['"`]"""  # minus a negative number in MySQL, a comment elsewhere
    r"""|/\*(?:(?!\*/).)*/\*""",  # comments in comments
    re.DOTALL,
)


def spaced(sql: str) -> str:
    """SQL with its white space and its references in one way; as it is where dialects differ in what is quoted."""
    text = REFERENCE.sub(r"{{ \1 }}", sql)
    if AMBIGUOUS.search(text):
        return text
    parts = []
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:  # a quote without an end
            return text
        parts.append(_written(found))
        at = found.end()
    return "".join(parts).strip(" \n")


def _written(token: re.Match[str]) -> str:
    """A token as it is written; behind a comment the line ends."""
    if token["space"] is not None:
        return " "
    if token["line"] is not None:
        comment, end, _ = token["line"].partition("\n")
        return comment.rstrip() + end
    return token[0]
