"""The one-time token that an agent enrols with.

    text    = "fbt1." + base64url(JSON), without padding
    JSON    = addresses (list of "host:port"), secret, authority, certificate, key (PEM), department, agent,
              expires_at (microseconds since 1970 UTC)

`secret` is what is spent; the ledger keeps only its SHA-256. `certificate` and `key` are a bootstrap client certificate
that lives as long as the token and may call EnrollService only, so that the collector's one port can always ask for a
client certificate. Whoever holds the text can enrol once, as that agent: it travels like a password.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from forebay_collector.errors import TokenRefused
from forebay_collector.identity.authority import Authority, key_pem, pem
from forebay_collector.ledger import Ledger

PREFIX: Final = "fbt1."
DEFAULT_LIFE: Final = timedelta(hours=24)
_SECRET_BYTES: Final = 32


def hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


@dataclass(frozen=True, slots=True)
class Token:
    """A token, opened. `secret` and `key` never show in its repr."""

    addresses: tuple[str, ...]
    secret: str = field(repr=False)
    authority: str
    certificate: str
    key: str = field(repr=False)
    department: str
    agent: str
    expires_at: int

    def to_text(self) -> str:
        packed = json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode()
        return PREFIX + base64.urlsafe_b64encode(packed).decode("ascii").rstrip("=")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises TokenRefused when the text is not a token; the message never repeats the text."""
        packed = text.strip().removeprefix(PREFIX)
        try:
            values = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
            return cls(**{**values, "addresses": tuple(values["addresses"])})
        except (binascii.Error, ValueError, TypeError, KeyError):
            raise TokenRefused("the text is not a token") from None


def make_token(
    ledger: Ledger,
    authority: Authority,
    *,
    agent: str,
    department: str,
    addresses: Sequence[str],
    who: str,
    life: timedelta = DEFAULT_LIFE,
    why: str = "",
    detail: Mapping[str, Any] | None = None,
) -> Token:
    """Makes a token for one agent and records it. Raises NotPossible when the names cannot be used."""
    expires = datetime.now(UTC) + life
    certificate, key = authority.bootstrap_certificate(agent, department, expires)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    expires_at = int(expires.timestamp() * 1_000_000)
    ledger.tokens.add(
        hash_secret(secret),
        agent=agent,
        department=department,
        expires_at=expires_at,
        who=who,
        why=why,
        detail=detail,
    )
    return Token(
        tuple(addresses),
        secret,
        pem(authority.certificate).decode(),
        pem(certificate).decode(),
        key_pem(key).decode(),
        department,
        agent,
        expires_at,
    )
