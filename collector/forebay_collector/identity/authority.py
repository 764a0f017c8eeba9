"""The collector's certificate authority: EC P-256, its key in one file that only the collector's user can read.

It signs the collector's own server certificate, the agents' certificates, and the bootstrap certificates in tokens.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from forebay_collector.errors import DataFolderUnusable, IdentityRefused
from forebay_collector.identity.names import COMPLETENESS_NAME, SERVER_NAME, UNREADABLE, subject

CERTIFICATE_FILE: Final = "authority.pem"
KEY_FILE: Final = "authority.key"
AUTHORITY_LIFE: Final = timedelta(days=3653)
AGENT_LIFE: Final = timedelta(days=398)
SERVER_LIFE: Final = timedelta(days=398)
CLOCK_SLACK: Final = timedelta(hours=1)
"""Certificates are valid from a little before they are made, for appliances whose clock is behind."""
_SMALLEST_RSA: Final = 2048


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def host_of(address: str) -> str:
    """The host in `host`, `host:port` or `[address]:port`."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address if address.count(":") > 1 else address.partition(":")[0]


class Authority:
    """The authority's certificate and key, in memory."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Makes an authority and keeps it in `folder`, which must hold none."""
        key = new_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Forebay authority")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SLACK)
            .not_valid_after(now + AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(folder / KEY_FILE, key_pem(key))
        write_private(folder / CERTIFICATE_FILE, pem(certificate))
        return cls(certificate, key)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises DataFolderUnusable when the files are missing or not an authority's."""
        try:
            certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE_FILE).read_bytes())
            key = serialization.load_pem_private_key((folder / KEY_FILE).read_bytes(), None)
        except OSError as error:
            raise DataFolderUnusable(f"authority {error.filename}: {error.strerror}") from None
        except ValueError:
            raise DataFolderUnusable(f"authority in {folder}: certificate or key cannot be read") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise DataFolderUnusable(f"authority in {folder}: the key is not the certificate's")
        return cls(certificate, key)

    def server_certificate(self, addresses: Sequence[str]) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A new server certificate, valid for `forebay-collector` and the hosts of the addresses, and its key."""
        key = new_key()
        names: list[x509.GeneralName] = [x509.DNSName(SERVER_NAME)]
        for host in dict.fromkeys(host_of(address) for address in addresses):
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                names.append(x509.DNSName(host.encode("idna").decode("ascii")))
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)])
        builder = self._builder(name, key.public_key(), datetime.now(UTC) + SERVER_LIFE)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return builder.sign(self._key, hashes.SHA256()), key

    def agent_certificate(
        self, signing_request: bytes, agent: str, department: str, life: timedelta = AGENT_LIFE
    ) -> x509.Certificate:
        """A certificate for the key in a PKCS#10 request (DER); the names are ours, what the request says is ignored.

        Raises IdentityRefused when the request is not signed by its own key, or the key is of a kind we do not take.
        """
        try:
            request = x509.load_der_x509_csr(signing_request)
            signed = request.is_signature_valid
            key = request.public_key()
        except UNREADABLE:
            raise IdentityRefused("certificate signing request cannot be read") from None
        if not signed:
            raise IdentityRefused("certificate signing request is not signed by its own key")
        if not isinstance(key, ec.EllipticCurvePublicKey) and not (
            isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA
        ):
            raise IdentityRefused(f"certificate signing request: the key is neither EC nor RSA of {_SMALLEST_RSA} bits")
        return self._client(subject(agent, department), key, datetime.now(UTC) + life)

    def bootstrap_certificate(
        self, agent: str, department: str, expires: datetime
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A client certificate that is good for enrolment only, and its key."""
        key = new_key()
        return self._client(subject(agent, department, enrolment=True), key.public_key(), expires), key

    def completeness_certificate(self, key: ed25519.Ed25519PublicKey) -> x509.Certificate:
        """Vouches for the key that signs certificates of completeness, for as long as the authority itself lasts."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMPLETENESS_NAME)])
        return self._builder(name, key, datetime.now(UTC) + AUTHORITY_LIFE).sign(self._key, hashes.SHA256())

    def _client(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, expires: datetime
    ) -> x509.Certificate:
        builder = self._builder(name, key, expires)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _builder(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey,
        expires: datetime,
    ) -> x509.CertificateBuilder:
        ours = self.certificate
        return (
            x509.CertificateBuilder(ours.subject, name, key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - CLOCK_SLACK)
            .not_valid_after(min(expires, ours.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner can read, whole or not at all, fsynced."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
