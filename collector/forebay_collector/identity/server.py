"""The collector's own certificate: made at `init`, renewed by the authority when its life is nearly over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from forebay_collector.errors import DataFolderUnusable
from forebay_collector.identity.authority import Authority, key_pem, pem, write_private

SERVER_FILE: Final = "server.pem"
RENEW_BEFORE: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """PEM, as gRPC wants it."""

    key: bytes
    chain: bytes
    expires: datetime


def renew_server_certificate(folder: Path, authority: Authority, addresses: Sequence[str]) -> ServerCertificate:
    """Makes a new certificate and key for these addresses in place of the one before; both in one file."""
    certificate, key = authority.server_certificate(addresses)
    write_private(folder / SERVER_FILE, key_pem(key) + pem(certificate))
    return load_server_certificate(folder)


def load_server_certificate(folder: Path) -> ServerCertificate:
    """Raises DataFolderUnusable."""
    path = folder / SERVER_FILE
    try:
        content = path.read_bytes()
        expires = x509.load_pem_x509_certificate(content).not_valid_after_utc
    except OSError as error:
        raise DataFolderUnusable(f"server certificate {path}: {error.strerror}") from None
    except ValueError:
        raise DataFolderUnusable(f"server certificate {path}: cannot be read") from None
    begin = content.index(b"-----BEGIN CERTIFICATE-----")
    return ServerCertificate(content[:begin], content[begin:], expires)


def current_server_certificate(folder: Path, authority: Authority, addresses: Sequence[str]) -> ServerCertificate:
    """The certificate in the folder, renewed first when less than `RENEW_BEFORE` of its life is left."""
    held = load_server_certificate(folder)
    if held.expires - datetime.now(UTC) > RENEW_BEFORE:
        return held
    return renew_server_certificate(folder, authority, addresses)
