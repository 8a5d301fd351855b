"""The signed tokens by which a stage is called: who may sign them, and what each of them allows.

A token is a JWT, signed with the installation's Ed25519 key: for one audience, a stage, and with a scope, a list
of rights. Airflow's side and the owner's command line have the key; a stage has its public half, and can sign nothing.
"""

from __future__ import annotations

import secrets
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from ropewalk.contracts.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ISSUER = "ropewalk"
ALGORITHM = "EdDSA"
DATASETS = (
    "ropewalk:datasets"  # the audience of a ticket, which any stage takes that has the dataset
)
MINUTES, DAYS = 60, 24 * 3600
CALL = 5 * MINUTES  # how long a token of one call is good for
TICKET = 1 * DAYS  # a task may wait in a queue before it reads its inputs
OWNER = 7 * DAYS
ALL = (
    "tasks",
    "datasets",
    "describe",
    "metrics",
    "reports",
    "garbage",
)  # everything that a stage does


def task_scope(key: str) -> str:
    """The right to submit, read, follow and cancel the task with that key."""
    return f"task:{key}"


def dataset_scope(dataset: str) -> str:
    """The right to read the dataset with that id (``key/output``), and nothing else."""
    return f"dataset:{dataset}"


def mint(signing_key: str, audience: str, *scope: str, life: float = CALL) -> str:
    """A token for one audience with these rights, good for so many seconds; ``signing_key`` is in PEM."""
    import jwt

    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": audience,
        "scope": " ".join(scope),
        "iat": now,
        "exp": now + int(life),
        "jti": secrets.token_hex(6),
    }
    return jwt.encode(claims, _private(signing_key), algorithm=ALGORITHM)


def new_signing_key() -> str:
    """A new private key, in PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return (
        Ed25519PrivateKey.generate()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def public_key(signing_key: str) -> str:
    """The public half of a private key, in PEM: all that a stage needs."""
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return (
        _private(signing_key).public_key().public_bytes(serialization.Encoding.PEM, form).decode()
    )


@lru_cache(maxsize=16)
def _private(signing_key: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = load_pem_private_key(signing_key.encode(), password=None)
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigError("the signing key is no Ed25519 private key in PEM", code="signing_key")
    return found
