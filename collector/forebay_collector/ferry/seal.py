"""Seal: whose a ferry is. Nothing of a file is used before its bytes and its signature were checked."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from forebay_collector.errors import FerryRefused
from forebay_collector.identity.names import UNREADABLE, Identity
from forebay_wire import ferry
from forebay_wire.errors import WireError


def check_sealed_by_agent(path: Path, authority: x509.Certificate) -> tuple[Identity, bytes]:
    """Who the certificate names that sealed the file, and that certificate (PEM). Whether it may still send is for the
    ledger to say (`identity.admission.find_agent`). Raises FerryRefused, IdentityRefused."""
    try:
        head, seal = ferry.check(path)
    except WireError as error:
        raise FerryRefused(str(error)) from None
    except OSError as error:
        raise FerryRefused(f"{path.name}: cannot be read: {error.strerror}") from None
    try:
        certificate = x509.load_pem_x509_certificate(seal.certificate)
        certificate.verify_directly_issued_by(authority)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
            raise FerryRefused(f"{path.name}: was not sealed by an agent")
        _verify(certificate, seal.signature, ferry.to_sign(seal.digest, seal.certificate))
    except (*UNREADABLE, InvalidSignature, x509.ExtensionNotFound):
        raise FerryRefused(f"{path.name}: was not sealed by an agent of this collector") from None
    identity = Identity.of(certificate)
    if (head.agent, head.department) != (identity.agent, identity.department):
        raise FerryRefused(f"{path.name}: says it is agent {head.agent}'s; agent {identity.agent} sealed it")
    return identity, seal.certificate


def _verify(certificate: x509.Certificate, signature: bytes, signed: bytes) -> None:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        kind = "RSA" if isinstance(key, rsa.RSAPublicKey) else "another"
        raise FerryRefused(f"a seal by a key of {kind} kind; it is EC")
    key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
