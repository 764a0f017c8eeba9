"""The file: a statement, who signed it, and the signature over both, in one canonical form.

    {"algorithm":"Ed25519","certificate":{…},"format":"forebay completeness 1","signature":"…","signer":"…"}

Canonical as RFC 8785 has it: keys in order, no white space, and here neither fractions nor keys beyond ASCII, so that its rules
for numbers and for sorting have nothing left to say. `signer` is the signing key's own certificate (X.509, DER, base64), issued
by the centre's authority; `signature` is over everything else. The file is exactly that text and a line end: whatever byte is
changed, it is either no longer canonical, or not what was signed.

SM2 is not offered: the `cryptography` library has no SM2 signatures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from cryptography.utils import CryptographyDeprecationWarning

from forebay_collector.errors import CertificateNotValid
from forebay_collector.identity.names import COMPLETENESS_NAME, UNREADABLE

FORMAT: Final = "forebay completeness 1"
ALGORITHM: Final = "Ed25519"
MOST_BYTES: Final = 64 << 20
_FIELDS: Final = {"algorithm", "certificate", "format", "signature", "signer"}
_TAG: Final = b"forebay completeness 1\n"


@dataclass(frozen=True, slots=True)
class Verified:
    """What a file says, whole: the statement, and the fingerprint (SHA-256, hexadecimal) of the certificate that signed it."""

    statement: Mapping[str, Any]
    signer: str


def canonical(value: object) -> bytes:
    """The one form of a value of texts, whole numbers, truth values, lists and objects. Raises TypeError for others."""
    _check(value)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def sign(statement: Mapping[str, Any], key: Ed25519PrivateKey, certificate: x509.Certificate) -> bytes:
    """The file's content."""
    signer = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
    document = {"algorithm": ALGORITHM, "certificate": statement, "format": FORMAT, "signer": signer}
    signature = base64.b64encode(key.sign(_TAG + canonical(document))).decode()
    return canonical({**document, "signature": signature}) + b"\n"


def verify(content: bytes, trusted: bytes) -> Verified:
    """trusted: PEM, the authority's certificate, or the public key that signs. Needs nothing else, and no connection.

    Raises CertificateNotValid, saying why.
    """
    document = _read(content)
    if document["algorithm"] != ALGORITHM:
        raise CertificateNotValid(f"it is signed with {document['algorithm']!r}, which is not known here")
    der, signature = _decoded(document["signer"], "signer"), _decoded(document.pop("signature"), "signature")
    try:
        with warnings.catch_warnings():  # what is only odd about it is no matter: its signature says whose it is
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            certificate = x509.load_der_x509_certificate(der)
            key = certificate.public_key()
    except UNREADABLE as error:
        raise CertificateNotValid("the certificate of who signed it cannot be read") from error
    if not isinstance(key, Ed25519PublicKey):
        raise CertificateNotValid("the key that signed it is no Ed25519 key")
    try:
        key.verify(signature, _TAG + canonical(document))
    except InvalidSignature:
        raise CertificateNotValid("it is not what was signed") from None
    _check_trusted(certificate, key, trusted, document["certificate"])
    return Verified(document["certificate"], hex_fingerprint(certificate))


def digest(content: bytes) -> str:
    """SHA-256 of a file, hexadecimal: what the next one and the audit name it by."""
    return hashlib.sha256(content).hexdigest()


def hex_fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(SHA256()).hex()


def _read(content: bytes) -> dict[str, Any]:
    if len(content) > MOST_BYTES:
        raise CertificateNotValid(f"it has {len(content)} bytes; at most {MOST_BYTES}")
    try:
        document = json.loads(content.decode())
        right = canonical(document) + b"\n" == content
    except (ValueError, TypeError, RecursionError) as error:
        raise CertificateNotValid("it is no certificate of completeness") from error
    if not isinstance(document, dict) or set(document) != _FIELDS or document["format"] != FORMAT:
        raise CertificateNotValid("it is no certificate of completeness of a format that is known here")
    if not right:
        raise CertificateNotValid("it is not in its canonical form: something in it was changed")
    if not isinstance(document["certificate"], dict):
        raise CertificateNotValid("it holds no statement")
    return document


def _check_trusted(
    certificate: x509.Certificate, key: Ed25519PublicKey, trusted: bytes, statement: Mapping[str, Any]
) -> None:
    if b"BEGIN PUBLIC KEY" in trusted:
        try:
            known = load_pem_public_key(trusted)
        except ValueError as error:
            raise CertificateNotValid("the public key that it is to be checked with cannot be read") from error
        if known != key:
            raise CertificateNotValid("it was signed with another key than the one that is trusted")
        return
    try:
        authority = x509.load_pem_x509_certificate(trusted)
        certificate.verify_directly_issued_by(authority)
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except InvalidSignature:
        raise CertificateNotValid("who signed it was not vouched for by the authority that is trusted") from None
    except UNREADABLE as error:
        raise CertificateNotValid(
            "the authority that is trusted cannot be read, or did not issue the certificate of who signed it"
        ) from error
    if [name.value for name in names] != [COMPLETENESS_NAME]:
        raise CertificateNotValid("who signed it is not who signs certificates of completeness")
    issued_at_us = statement.get("issued_at_us")
    if not isinstance(issued_at_us, int) or not 0 <= issued_at_us < 1 << 57:
        raise CertificateNotValid("it does not say when it was issued")
    at = datetime.fromtimestamp(issued_at_us / 1_000_000, UTC)
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise CertificateNotValid("who signed it was not vouched for at the time")


def _decoded(text: object, what: str) -> bytes:
    """Raises CertificateNotValid unless it is the one base64 form of its bytes."""
    try:
        content = base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CertificateNotValid(f"its {what} is no base64") from error
    if base64.b64encode(content).decode() != text:
        raise CertificateNotValid(f"its {what} is not in its canonical form")
    return content


def _check(value: object) -> None:
    match value:
        case str() | bool() | int() | None:
            return
        case list() | tuple():
            for one in value:
                _check(one)
        case dict():
            for name, one in value.items():
                if not (isinstance(name, str) and name.isascii()):
                    raise TypeError(f"{name!r} is no key of a certificate")
                _check(one)
        case _:
            raise TypeError(f"{type(value).__name__} is no value of a certificate")
