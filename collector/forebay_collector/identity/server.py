"""The collector's own certificate: made at `init`, renewed by the authority when its life is nearly over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509

from forebay_collector.errors import DataFolderUnusable
from forebay_collector.identity.authority import Authority, key_pem, pem, write_private

SERVER_FILE: Final = "server.pem"
RENEW_BEFORE: Final = timedelta(days=30)
_log = logging.getLogger(__name__)


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


class ServerCredentials:
    """The certificate that each new connection is shown, renewed in place when its time is near."""

    def __init__(
        self, folder: Path, authority: Authority, addresses: Sequence[str], begun: Callable[[], None] = lambda: None
    ) -> None:
        """`begun` is called, in a thread of gRPC's, at every new connection. Raises DataFolderUnusable."""
        self._begun = begun
        self._folder = folder
        self._authority = authority
        self._addresses = addresses
        self._current = load_server_certificate(folder)
        self._renew_if_due()

    def for_grpc(self) -> Any:
        """Credentials that ask every client for a certificate of our authority."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(), self._changed, require_client_authentication=True
        )

    def _changed(self) -> Any:
        """Asked by gRPC, in a thread of its own, at every new connection; None: as before."""
        self._begun()
        try:
            return self._configuration() if self._renew_if_due() else None
        except (DataFolderUnusable, OSError) as error:
            _log.error("server certificate cannot be renewed reason=%s", error)
            return None

    def _renew_if_due(self) -> bool:
        if self._current.expires - datetime.now(UTC) > RENEW_BEFORE:
            return False
        self._current = renew_server_certificate(self._folder, self._authority, self._addresses)
        _log.info("server certificate renewed expires=%s", self._current.expires.isoformat())
        return True

    def _configuration(self) -> Any:
        pair = (self._current.key, self._current.chain)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=pem(self._authority.certificate))
