"""Enrolment: a one-time token becomes the agent's identity.

    token = "fbt1." + base64url(JSON), without padding
    JSON  = addresses (list of "host:port"), secret, authority, certificate, key (PEM), department, agent,
            expires_at (microseconds since 1970 UTC)

`certificate` and `key` open the connection and are good for nothing else. The agent's own key is made here and written
down before the call, and never leaves the appliance. Nothing of a token is ever printed, logged or kept but addresses
and names.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from forebay_agent import __version__, durable, identity
from forebay_agent.channel import open_channel
from forebay_agent.diagnosis import explain
from forebay_agent.errors import AgentError, CertificateRefused, CollectorUnreachable
from forebay_agent.identity import Identity
from forebay_wire.v1 import enroll_pb2, enroll_pb2_grpc

PREFIX: Final = "fbt1."
REFUSED_FILE: Final = "enroll.refused"
"""in the state folder: when and why a token was refused; gone once one is taken"""
_SECONDS: Final = 30.0
_TEXTS: Final = ("secret", "authority", "certificate", "key", "department", "agent")
ASK_ANEW: Final = "Ask the centre for a new token (`forebay-collector token`)."


@dataclass(frozen=True, slots=True)
class Token:
    """A token, opened. What is secret in it never shows in its repr."""

    addresses: tuple[str, ...]
    secret: str = field(repr=False)
    authority: str
    certificate: str
    key: str = field(repr=False)
    department: str
    agent: str
    expires_at: int

    @classmethod
    def of(cls, text: str) -> Self:
        """Raises CertificateRefused when the text is not a token; the message never repeats it."""
        text = "".join(text.split())
        packed = text.removeprefix(PREFIX)
        try:
            values = json.loads(base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True))
            named = {name: str(values[name]) for name in _TEXTS}
            addresses = tuple(str(address) for address in values["addresses"])
            token = cls(addresses=addresses, expires_at=int(values["expires_at"]), **named)
        except (binascii.Error, ValueError, TypeError, KeyError):
            token = None
        if token is None or not text.startswith(PREFIX) or not token.addresses:
            raise CertificateRefused("this is not a token, or it is cut short", remedy=ASK_ANEW)
        return token


def usable(text: str, now_us: int | None = None) -> Token:
    """The token, when it is one and has not expired. Raises CertificateRefused."""
    token = Token.of(text)
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000) if now_us is None else now_us
    if token.expires_at <= now_us:
        when = datetime.fromtimestamp(token.expires_at / 1_000_000, UTC)
        raise CertificateRefused(f"the token expired at {when:%Y-%m-%d %H:%M} UTC", remedy=ASK_ANEW)
    return token


def enroll(token_text: str, state: Path, *, addresses: tuple[str, ...] = (), now_us: int | None = None) -> Identity:
    """Turns a token into the identity in `<state>/identity/`. `addresses` are tried before those of the token.

    Raises:
        CertificateRefused: the token is not one, has expired, or the collector refuses it.
        CollectorUnreachable: no address answers; the token is not spent.
        StateFolderUnusable: the identity cannot be written.
    """
    try:
        token = usable(token_text, now_us)
        own = _enroll(token, state, addresses)
    except CertificateRefused as error:
        note_refusal(state, error)
        raise
    forget_refusal(state)
    return own


def last_refusal(state: Path) -> CertificateRefused | None:
    """Why the last enrolment was refused; None when it was not, or nobody noted it."""
    try:
        told = json.loads((state / REFUSED_FILE).read_bytes())
        return CertificateRefused(f"{told['at']}: {told['reason']}", remedy=str(told["remedy"]) or ASK_ANEW)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_refusal(state: Path) -> None:
    (state / REFUSED_FILE).unlink(missing_ok=True)


def note_refusal(state: Path, error: CertificateRefused) -> None:
    """For `doctor`: an operator comes back the next day, and the terminal is gone."""
    told = {"at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "reason": str(error), "remedy": error.remedy}
    with contextlib.suppress(OSError):
        durable.write(state / REFUSED_FILE, json.dumps(told, ensure_ascii=False).encode(), mode=0o600)


def _enroll(token: Token, state: Path, addresses: tuple[str, ...]) -> Identity:
    key = new_key()
    identity.prepare(state, key_pem(key))
    tried = tuple(dict.fromkeys((*addresses, *token.addresses)))
    response = _ask(token, tried, signing_request(token.agent, token.department, key))
    return identity.finish(
        state,
        agent=response.agent,
        department=response.department,
        addresses=token.addresses,
        certificate=response.certificate,
        authority=response.authority,
    )


def request_of(token: Token, signing_request: bytes) -> enroll_pb2.EnrollRequest:
    """What is asked of the centre, over a line as on a disk."""
    return enroll_pb2.EnrollRequest(
        secret=token.secret, signing_request=signing_request, hostname=socket.gethostname(), version=__version__
    )


def _ask(token: Token, addresses: tuple[str, ...], signing_request: bytes) -> enroll_pb2.EnrollResponse:
    """The answer of the first collector that can be reached."""
    request = request_of(token, signing_request)
    failure: AgentError = CollectorUnreachable()
    for address in addresses:
        channel = open_channel(
            address,
            authority=token.authority.encode(),
            certificate=token.certificate.encode(),
            key=token.key.encode(),
        )
        try:
            stub = enroll_pb2_grpc.EnrollServiceStub(channel)
            response: enroll_pb2.EnrollResponse = stub.Enroll(request, timeout=_SECONDS)
            return response
        except grpc.RpcError as error:
            failure = explain(error, address, token.authority.encode(), None)
            if isinstance(failure, CertificateRefused):
                raise CertificateRefused(str(failure), remedy=failure.remedy or ASK_ANEW) from None
        finally:
            channel.close()
    raise failure


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signing_request(agent: str, department: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS#10, DER: the key's public half under the agent's names."""
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, department), x509.NameAttribute(NameOID.COMMON_NAME, agent)]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)
