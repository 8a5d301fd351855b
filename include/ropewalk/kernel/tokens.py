"""Checks the tokens that calls carry, on HTTP and on Flight: by the public keys alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from ropewalk.contracts.errors import ConfigError, ForbiddenError, RopewalkError, UnauthorizedError
from ropewalk.contracts.tokens import ALGORITHM, ISSUER

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger()
LEEWAY = 10  # seconds that two machines' clocks may differ
PEM = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
WHOLE = {"task": "tasks", "dataset": "datasets"}  # the right to all of a kind
REASONS: dict[type[Exception], tuple[str, str]] = {
    jwt.InvalidAlgorithmError: ("token_algorithm", "the token is not signed as ours are"),
    jwt.ExpiredSignatureError: ("token_expired", "the token has expired"),
    jwt.ImmatureSignatureError: ("token_early", "the token is not valid yet"),
    jwt.InvalidAudienceError: ("token_audience", "the token is for another service than this one"),
}

HINTS = {
    "token_expired": "ropewalk token makes a new one, and make up and make status renew those in endpoints.json;"
    " where Airflow asked, its machine's clock and this one's differ"
}


@dataclass(frozen=True)
class Grant:
    """What a token that has been checked allows."""

    token: str
    audience: str
    scope: frozenset[str]
    id: str

    def allows(self, right: str) -> bool:
        """Whether the scope has this right, or the right to all of its kind."""
        return right in self.scope or WHOLE.get(right.partition(":")[0]) in self.scope

    def need(self, right: str) -> None:
        """ForbiddenError unless the token allows it."""
        if not self.allows(right):
            raise ForbiddenError(
                "the token is good, and not for this: it is for another task or another use",
                code="token_scope",
            )


@dataclass(frozen=True)
class Verifier:
    """Checks tokens by the public keys of who may sign; several, while one takes the place of another."""

    public_keys: str
    audiences: tuple[str, ...]

    @cached_property
    def _keys(self) -> Sequence[Ed25519PublicKey]:
        keys = [load_pem_public_key(text.encode()) for text in PEM.findall(self.public_keys)]
        if not keys or not all(isinstance(key, Ed25519PublicKey) for key in keys):
            raise ValueError("no Ed25519 key")
        return keys  # type: ignore[return-value]

    def check_keys(self) -> None:
        """ConfigError unless there is a key, and every key is one."""
        try:
            _ = self._keys
        except ValueError:
            raise ConfigError(
                "ROPEWALK_PUBLIC_KEYS must hold one or more Ed25519 public keys in PEM",
                code="no_public_key",
                hint="ropewalk keys makes a pair",
            ) from None

    def grant(self, header: str) -> Grant:
        """What an ``Authorization`` header allows; UnauthorizedError where its token is none of ours."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UnauthorizedError(
                "this answers only to a request with a token", code="token_missing"
            )
        claims = self._claims(token.strip())
        audience, scope = claims["aud"], claims.get("scope")
        if not isinstance(audience, str) or not isinstance(scope, str):
            raise UnauthorizedError("the token is not valid here", code="token_invalid")
        return Grant(token.strip(), audience, frozenset(scope.split()), str(claims.get("jti", "")))

    def _claims(self, token: str) -> dict[str, Any]:
        for key in self._keys:
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[ALGORITHM],
                    audience=list(self.audiences),
                    issuer=ISSUER,
                    leeway=LEEWAY,
                    options={"require": ["exp", "iat", "aud", "iss"]},
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.PyJWTError as error:
                code, text = REASONS.get(
                    type(error), ("token_invalid", "the token is not valid here")
                )
                raise UnauthorizedError(text, code=code, hint=HINTS.get(code)) from None
        raise UnauthorizedError("the token is signed by another key", code="token_signature")


def refused(error: RopewalkError, *, place: str, client: str) -> None:
    """Say in the service's log what was refused, to whom and why; never the token."""
    log.warning("call.refused", place=place[:200], client=client, code=error.code)
