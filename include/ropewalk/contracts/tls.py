"""How a client of the stages uses TLS: whom it trusts, and who it is."""

from __future__ import annotations

import ssl
from collections.abc import Mapping


def client_context(files: Mapping[str, str]) -> ssl.SSLContext:
    """For files in PEM: ``ca``, the authority to trust, else the system's; ``cert`` and ``key``, who we are."""
    found = ssl.create_default_context(cafile=files.get("ca"))
    if "cert" in files:
        found.load_cert_chain(files["cert"], files.get("key"))
    return found
