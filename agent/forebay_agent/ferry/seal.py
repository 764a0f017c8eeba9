"""Seal: whose a ferry is. What the agent seals, and what it takes for sealed by its centre."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from forebay_agent.channel import SERVER_NAME
from forebay_agent.errors import CertificateRefused, FerryUnusable
from forebay_agent.identity import UNREADABLE
from forebay_wire import ferry
from forebay_wire.errors import WireError
from forebay_wire.ferry import Sign
from forebay_wire.v1 import ferry_pb2


def signing(key: bytes) -> Sign:
    """By this key (PEM). Raises CertificateRefused when it is of another kind."""
    loaded = serialization.load_pem_private_key(key, None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise CertificateRefused("the agent's key is not one that can seal a file", remedy="Enrol the agent anew.")
    return lambda message: loaded.sign(message, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True, slots=True)
class Answer:
    """A file that this agent's centre made for it, whole, in memory. made_at_us: by the centre's clock."""

    name: str
    made_at_us: int
    held: ferry.Held

    def records(self) -> Iterator[ferry_pb2.FerryRecord]:
        """Raises FerryUnusable."""
        try:
            yield from ferry.records(self.held)
        except WireError as error:
            raise FerryUnusable(str(error)) from None


def opened(path: Path, agent: str, authority: bytes) -> Answer:
    """Raises FerryUnusable when it is damaged, not from the centre of this authority (PEM), or for another agent."""
    try:
        held = ferry.hold(path)
        head, seal = ferry.check(held)
    except WireError as error:
        raise FerryUnusable(str(error)) from None
    except OSError as error:
        raise FerryUnusable(f"{path}: cannot be read: {error.strerror}") from None
    _check_sealed_by_centre(path, seal, authority)
    if head.agent != agent:
        raise FerryUnusable(f"{path.name}: is for agent {head.agent}; this one is {agent}")
    return Answer(path.name, head.made_at_us, held)


def check_issued(certificate: bytes, authority: bytes) -> None:
    """Raises CertificateRefused when the certificate (PEM) was not made by this authority (PEM)."""
    try:
        given = x509.load_pem_x509_certificate(certificate)
        given.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (*UNREADABLE, InvalidSignature):
        raise CertificateRefused("the answer holds no certificate of this agent's centre") from None


def answers(folder: Path) -> list[Path]:
    """The answers in a folder, oldest first by their names. Raises FerryUnusable when it cannot be listed."""
    try:
        return sorted(
            path for path in folder.iterdir() if path.name.startswith(ferry.ANSWER) and path.suffix == ferry.SUFFIX
        )
    except OSError as error:
        raise FerryUnusable(f"{folder}: cannot be read: {error.strerror}") from None


def _check_sealed_by_centre(path: Path, seal: ferry_pb2.FerrySeal, authority: bytes) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(seal.certificate)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        key = certificate.public_key()
        centre = SERVER_NAME in names.get_values_for_type(x509.DNSName)
        if not centre or ExtendedKeyUsageOID.SERVER_AUTH not in usage or not isinstance(key, ec.EllipticCurvePublicKey):
            raise FerryUnusable(f"{path.name}: was not sealed by the collector")
        key.verify(seal.signature, ferry.to_sign(seal.digest, seal.certificate), ec.ECDSA(hashes.SHA256()))
    except (*UNREADABLE, InvalidSignature, x509.ExtensionNotFound):
        raise FerryUnusable(f"{path.name}: was not sealed by this agent's centre") from None
