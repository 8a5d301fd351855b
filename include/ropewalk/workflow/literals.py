"""Finds secrets that stand in a workflow file, where all see them who read the repository or Airflow."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ropewalk.contracts.errors import ConfigError
from ropewalk.workflow.text import Path, Text

NAMED = re.compile(
    r"(?i)pass(word|wd|phrase)?|secret|token|authorization|cookie"
    r"|(x[-_])?(api|access|auth|private|secret|client)[-_]?(key|secret|token)"
)
BELOW = {"with", "query", "headers", "auth", "args"}  # where a key says what its value is
FORMS = re.compile(
    r"://[^/\s:@{}]*:[^/\s@{}]+@"  # a password in a URL
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\."  # a signed token
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\b(?:gh[opsu]|github_pat)_\w{20,}|\bglpat-[\w-]{20}|\bxox[abp]-[\w-]{10,}|\bsk-[A-Za-z0-9]{20,}"
    r"|(?i:^['\"]?(?:bearer|basic) +[^\s{}]{8,})"
)


def literal_secrets(text: Text) -> Iterator[tuple[Path, ConfigError]]:
    """An error for each value that is a secret by its form, or by the key that it stands under."""
    for path, (start, end) in text.spans.items():
        written = text.source[start:end]
        named = len(path) > 1 and path[-2] in BELOW and NAMED.fullmatch(str(path[-1]))
        if (named and written.strip("'\"") and "{{" not in written) or FORMS.search(written):
            yield (
                path,
                ConfigError(
                    "this looks like a secret, which no workflow file may hold",
                    code="literal_secret",
                    hint="put it into the step's connection: ROPEWALK_CONNECTION_<NAME> of the stage",
                ),
            )
