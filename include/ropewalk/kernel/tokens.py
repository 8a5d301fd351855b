"""The installation's token, on HTTP and on Flight."""

from __future__ import annotations

import hmac

from pydantic import SecretStr


def bears(header: str, secret: SecretStr | None) -> bool:
    """Whether an ``Authorization`` header carries the token, compared in constant time."""
    scheme, _, given = header.partition(" ")
    if secret is None or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.strip().encode(), secret.get_secret_value().encode())
