"""Pages: every text in them is escaped, their scripts and styles are inside, and nothing is fetched from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ropewalk import __version__
from ropewalk.present.charting import words
from ropewalk.present.digits import cell

HERE = Path(__file__).parent
SCRIPTS = ("vega.js", "report.js")
THEME = "theme.js"
STYLE = "report.css"


@cache
def static(name: str) -> str:
    """A file of ``static/``."""
    return (HERE / "static" / name).read_text(encoding="utf-8")


@cache
def policy() -> str:
    """The Content-Security-Policy of every page: only our own scripts, by their digests, and no network."""
    digests = " ".join(_digest(static(name)) for name in (THEME, *SCRIPTS))
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src 'self' data:;"
        " base-uri 'none'; form-action 'none'"
    )


@cache
def headers() -> dict[str, str]:
    """What is sent with every page and file; a page may be framed by those of its own origin."""
    return {
        "content-security-policy": f"{policy()}; frame-ancestors 'self'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "private, no-cache",
    }


def page(template: str, **values: Any) -> str:
    """A page made of a template; ``scripts`` says whether it has charts."""
    return environment().get_template(template).render(values)


@cache
def environment() -> jinja2.Environment:
    """The templates, and what all of them know."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {
        "count": count,
        "moment": moment,
        "seconds": seconds,
        "cell": cell,
        "words": words,
    }
    made.globals |= {
        "policy": policy(),
        "version": __version__,
        "style": Markup(static(STYLE)),  # noqa: S704 - our own file
        "theme": Markup(static(THEME)),  # noqa: S704
        "chart_scripts": [Markup(static(name)) for name in SCRIPTS],  # noqa: S704
    }
    return made


def count(number: float) -> str:
    """A number of things, with its thousands apart."""
    return f"{number:,}"


def moment(when: datetime) -> str:
    """A moment in UTC, to the minute."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def seconds(spent: float) -> str:
    """A duration as people say it."""
    minute = 60.0
    if spent < minute:
        return f"{spent:.2f} s"
    return f"{int(spent // minute)} min {spent % minute:.0f} s"


def _digest(script: str) -> str:
    found = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(found).decode()}'"
