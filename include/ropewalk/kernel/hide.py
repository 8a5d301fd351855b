"""Hides secrets in what is said: in a task's log and its error, in a service's own log, on a terminal.

Code that meets a secret must not tell it; but a library's error, or a server that repeats a header, may. So what leaves
a task goes through here, too.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from pydantic import SecretStr

from ropewalk.contracts.errors import RopewalkError
from ropewalk.kernel.settings import Settings, connection_names

MARK = "***"
SHORTEST = 5  # characters: what is shorter than that stands in many a word
TOKEN = r"eyJ[\w-]+\.[\w-]+\.[\w-]+"  # noqa: S105 - the form of a signed token, whoever's it is
IN_A_URL = re.compile(r"//[^/?#\s]*?:([^/?#\s]*)@")  # up to the last @, as people write it
IN_A_QUERY = re.compile(r"(?i)[?&][^=&]*(?:pass|secret|token|key|sig)[^=&]*=([^&#]+)")
PLAIN = {"url", "user", "header", "token_url"}  # fields of a connection that are no secrets
Hide = Callable[[str], str]


def hider(settings: Settings) -> Hide:
    """What puts ``***`` where a text has a secret of a service's settings or connections, in whatever form."""
    forms = {form for secret in _secrets(settings) for form in _forms(secret)}
    longest_first = sorted(forms, key=len, reverse=True)
    pattern = re.compile("|".join([*map(re.escape, longest_first), TOKEN]))
    return lambda text: pattern.sub(MARK, text)


def hidden(error: RopewalkError, hide: Hide) -> RopewalkError:
    """The error, with a text and a hint that tell no secret."""
    error.detail = hide(error.detail)
    error.hint = hide(error.hint) if error.hint else error.hint
    return error


def hidden_in(value: Any, hide: Hide) -> Any:
    """The same for all texts in a value of mappings and lists."""
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {name: hidden_in(one, hide) for name, one in value.items()}
    return [hidden_in(one, hide) for one in value] if isinstance(value, list | tuple) else value


def _secrets(settings: Settings) -> Iterator[str]:
    """Every secret that this service knows; what is too short to be told from other words is none."""
    told = [one.get_secret_value() for _, one in settings if isinstance(one, SecretStr)]
    for text in (*told, *connection_names().values()):
        yield from (one for one in _of(text) if len(one) >= SHORTEST)


def _of(text: str) -> Iterator[str]:
    """The secrets in the text of a setting: a URL, a connection's fields as JSON, or the whole of it."""
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if isinstance(fields, dict):
        for name, value in fields.items():
            yield from _of_url(str(value)) if name in PLAIN else (str(value),)
    elif "://" in text:
        yield from _of_url(text)
    else:
        yield text


def _of_url(url: str) -> Iterator[str]:
    for found in (*IN_A_URL.findall(url), *IN_A_QUERY.findall(url)):
        yield from (found, unquote(found))


def _forms(secret: str) -> set[str]:
    """A secret as it may stand in a text: as it is, in a URL, in JSON, in Python, in HTML, in base64."""
    html = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    written = {quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}
    return {secret, html, repr(secret)[1:-1], *written, *_base64(secret.encode())}


def _base64(secret: bytes) -> Iterator[str]:
    """What a secret looks like within the base64 of a longer text, wherever it begins there."""
    for before, start in ((0, 0), (1, 2), (2, 3)):
        whole = (before + len(secret)) // 3 * 4
        for alphabet in (b"+/", b"-_"):
            text = base64.b64encode(bytes(before) + secret, alphabet).decode()[start:whole]
            if len(text) >= SHORTEST:
                yield text
