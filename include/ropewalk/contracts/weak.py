"""Secrets that are none: empty, too short, or known to everyone."""

from __future__ import annotations

LEAST = 16  # characters of a secret of our own; `make up` and `make secrets` make 43
KNOWN = ("admin", "changeme", "default", "password", "postgres", "ropewalk", "secret", "test")
VARIED = 6  # different characters, at least


def weakness(secret: str, least: int = LEAST) -> str | None:
    """Why a secret keeps nobody out, or None."""
    if not secret.strip():
        return "is empty"
    if secret.strip("0123456789!-_.").lower() in KNOWN:
        return "is one that everybody knows"
    if len(secret) < least:
        return f"has {len(secret)} characters: fewer than {least}"
    return "has too few different characters" if len(set(secret)) < VARIED else None
