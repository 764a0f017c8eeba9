"""The key that signs certificates of completeness: Ed25519, beside the authority, which vouches for it with a certificate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from forebay_collector.errors import DataFolderUnusable
from forebay_collector.identity.authority import Authority, pem, write_private

KEY_FILE: Final = "completeness.key"
CERTIFICATE_FILE: Final = "completeness.pem"
_RENEW_BEFORE: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Signer:
    key: Ed25519PrivateKey
    certificate: x509.Certificate

    @property
    def public_key(self) -> bytes:
        """PEM: what `certificate verify --ca` takes too."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signer_of(folder: Path) -> Signer:
    """The identity folder's signer; made when there is none, vouched for anew when its certificate is about to end.

    Raises DataFolderUnusable.
    """
    key_file, certificate_file = folder / KEY_FILE, folder / CERTIFICATE_FILE
    try:
        if not key_file.exists():
            made = Ed25519PrivateKey.generate()
            write_private(key_file, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key = load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise DataFolderUnusable(f"{key_file}: is no Ed25519 key")
        if certificate_file.exists():
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            lasts = certificate.not_valid_after_utc - _RENEW_BEFORE > datetime.now(UTC)
            if lasts and certificate.public_key() == key.public_key():
                return Signer(key, certificate)
        certificate = Authority.load(folder).completeness_certificate(key.public_key())
        write_private(certificate_file, pem(certificate))
    except OSError as error:
        raise DataFolderUnusable(f"{error.filename or folder}: {error.strerror}") from None
    except ValueError:
        raise DataFolderUnusable(f"{folder}: the key or certificate that signs certificates cannot be read") from None
    return Signer(key, certificate)
