"""No form of a secret is left in what is said, and nothing but secrets is taken out."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
from html import escape
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ropewalk.contracts.errors import ConfigError, FatalError
from ropewalk.contracts.tokens import mint, new_signing_key
from ropewalk.kernel.hide import SHORTEST, hidden, hidden_in, hider
from ropewalk.kernel.settings import Settings, connection

CANARY = 'c4n&ry/"p@ss+wörd\\='
FORMS = {
    "plain": CANARY,
    "in a URL": quote(CANARY, safe=""),
    "in a path": quote(CANARY),
    "in a form": quote_plus(CANARY),
    "in JSON": json.dumps(CANARY),
    "in Python": repr(CANARY),
    "in HTML": escape(CANARY, quote=False),
    "basic": base64.b64encode(f"user:{CANARY}".encode()).decode(),
    "for a URL": base64.urlsafe_b64encode(f"u:{CANARY}".encode()).decode(),
    "with more": base64.b64encode(f"us:{CANARY}-etc".encode()).decode(),
}
CONNECTIONS = {
    "a field": json.dumps({"url": "https://api", "token": CANARY}),
    "a field of another name": json.dumps({"url": "https://api", "anything": CANARY}),
    "a URL": f"postgresql://user:{quote(CANARY, safe='')}@db/x",
    "a URL among fields": json.dumps({"url": f"https://u:{quote(CANARY, safe='')}@api"}),
    "a query": f"https://api/x?api_key={quote(CANARY, safe='')}&page=2",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", CONNECTIONS)
def test_no_form_of_a_connections_secret_is_left(
    monkeypatch: pytest.MonkeyPatch, where: str, form: str
) -> None:
    monkeypatch.setenv("ROPEWALK_CONNECTION_X", CONNECTIONS[where])
    said = hider(Settings())(f"the server said <{FORMS[form]}>, and no more")
    assert "***" in said
    assert said.startswith("the server said <")
    assert said.endswith(", and no more")
    rest = said.removeprefix("the server said <").removesuffix(">, and no more")
    assert len(rest.replace("***", "")) <= 18, rest  # what stood around it, and two bytes of base64


def test_a_services_own_secrets_and_every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROPEWALK_DATABASE_URL", "postgresql://role:hush-hush@db/x")
    monkeypatch.setenv("ROPEWALK_VIEW_TOKEN", "the-key-of-the-viewers")
    hide = hider(Settings())
    token = mint(new_signing_key(), "collect", "tasks")
    assert hide(f"hush-hush the-key-of-the-viewers {token} role db") == "*** *** *** role db"


def test_what_is_no_secret_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"url": "https://user@api.example/x", "user": "somebody", "header": "X-Api-Key"}
    monkeypatch.setenv("ROPEWALK_CONNECTION_X", json.dumps({**fields, "token": "abc"}))
    text = "https://user@api.example/x somebody X-Api-Key abc null true 2013"
    assert hider(Settings())(text) == text


@given(st.text(min_size=SHORTEST), st.text(), st.text())
def test_any_secret_in_any_text(secret: str, before: str, after: str) -> None:
    said = hider(Settings(view_token=secret))(before + secret + after)
    assert secret not in said.replace("***", "\0") or secret in "***"


def test_an_error_and_a_mapping_are_told_without() -> None:
    hide = hider(Settings(view_token="hush-hush"))
    error = hidden(FatalError("no hush-hush", hint="try hush-hush", code="x"), hide)
    assert (str(error), error.code) == ("no *** (try ***)", "x")
    assert hidden_in({"a": ["hush-hush", 1, None]}, hide) == {"a": ["***", 1, None]}


@pytest.mark.parametrize("password", ["p@ss", "pa/ss", "pa?ss", "pa#ss", "@", "a@b@c"])
def test_a_password_that_breaks_its_url_is_told_before_it_becomes_a_host(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("ROPEWALK_CONNECTION_X", f"postgresql://user:{password}@db:5432/x")
    with pytest.raises(ConfigError, match="%40 for @") as caught:
        connection("x")
    assert password not in str(caught.value).partition("password has")[0]


@pytest.mark.parametrize(
    "url",
    ["postgresql://user:p%40ss@db:5432/x", "https://api:8080/users/@me", "https://[::1]:80/a@b",
     "postgresql://u:p@a:1,b:2/x", "sqlite:////data/a@b.db", "https://api/x?mail=a@b"],
)  # fmt: skip
def test_other_urls_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ROPEWALK_CONNECTION_X", url)
    assert connection("x").secret("url") == url


SAYS = """
import logging
from ropewalk.kernel.log import log_as_json
from ropewalk.kernel.settings import Settings
import structlog
log_as_json(Settings(view_token="hush-hush"))
structlog.get_logger().warning("ours", text="hush-hush", deep={"x": ["hush-hush"]})
logging.getLogger("lib").error('two\\nlines "quoted" %s', "hush-hush")
try:
    raise ValueError("hush-hush")
except ValueError:
    logging.getLogger("lib").exception("bad")
"""


def test_a_line_of_the_log_is_one_object_without_secrets_whoever_says_it() -> None:
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["ours", "library", "library"]
    assert (lines[0]["text"], lines[0]["deep"]) == ("***", {"x": ["***"]})
    assert (lines[1]["logger"], lines[1]["level"]) == ("lib", logging.getLevelName(40).lower())
    assert lines[1]["text"] == 'two\nlines "quoted" ***'
    assert "ValueError: ***" in lines[2]["exception"]
    assert "hush" not in done.stdout + done.stderr
