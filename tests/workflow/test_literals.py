"""A secret in a workflow file is refused at its place, and what only looks like one is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from ropewalk.workflow import WorkflowError, loads

FILE = """steps:
  a:
    collect: rest
    with:
      connection: api
      {line}
"""
JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0eyJ4.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "line",
    [
        "headers: {Authorization: Bearer abcdefgh12}", "headers: {X-Api-Key: kkkk}", "headers: {cookie: 'a=b'}",
        "headers: {X-Other: 'Basic dXNlcjpwYXNz'}", f"headers: {{X-Jwt: {JWT}}}",
        "query: {token: abc}", "query: {api_key: abc}", "query: {client_secret: abc}",
        "query: {q: AKIAIOSFODNN7EXAMPLE}", "query: {q: ghp_abcdefghijklmnopqrst}",
        "auth: {type: oauth2_client_credentials, token_url: 'https://u:pw@host/token'}",
        "path: 'https://user:pass@host/'", "path: '-----BEGIN EC PRIVATE KEY-----'",
    ],
)  # fmt: skip
def test_a_secret_is_refused(line: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        loads(FILE.replace("{line}", line), Path("w.yaml"))
    found = [problem for problem in caught.value.problems if problem.code == "literal_secret"]
    assert [problem.line for problem in found] == [6]
    assert "ROPEWALK_CONNECTION_" in str(found[0])
    secret = line.rpartition(":")[2].strip(" '}")
    assert secret not in str(found[0])


@pytest.mark.parametrize(
    "line",
    [
        "headers: {Accept: text/csv}", "query: {token: '{{ params.page }}'}", "query: {page_token: abc}",
        "query: {key: origin}", "columns: {token: string, password: string}", "select: [secret, token]",
        "path: /token/secret", "path: 'https://host:8080/a@b'", "query: {q: sk_customer_surrogate_key}",
        "auth: {type: api_key, header: X-Api-Key}", "query: {token: ''}", "cursor: {field: token, param: token}",
    ],
)  # fmt: skip
def test_what_is_none_is_not(line: str) -> None:
    text = "params: {page: {type: string, default: x}}\n" + FILE.replace("{line}", line)
    loads(text, Path("w.yaml"))
