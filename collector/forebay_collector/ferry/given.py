"""The folder `<data>/ferry/given`: of each agent the certificates that it was given last on a disk, PEM.

The ledger knows certificates by their serials only. When a file is imported again, because the answer was lost or the
import was interrupted, the same request is answered with the same certificate: the one that is in force, or that the agent
may hold already, is not taken from it. It is kept before the ledger knows it, and counts once the ledger does.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from forebay_collector.errors import FerryRefused
from forebay_collector.identity.authority import write_private
from forebay_collector.identity.names import UNREADABLE, Identity, serial_text
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.certificates import Ended


class Given:
    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._folder = folder
        self._ledger = ledger

    def keep(self, agent: str, how: str, certificate: bytes) -> None:
        """certificate: PEM. Durable when it returns. Raises FerryRefused."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._path(agent, how), certificate)
        except OSError as error:
            raise FerryRefused(f"{self._folder}: cannot be written: {error.strerror}") from None

    def find(self, agent: str, how: str, signing_request: bytes) -> x509.Certificate | None:
        """The certificate that was given for the key of this PKCS#10 request (DER); None: there is none, or an import was
        interrupted before it was given."""
        try:
            request = x509.load_der_x509_csr(signing_request)
            certificate = x509.load_pem_x509_certificate(self._path(agent, how).read_bytes())
            same = request.is_signature_valid and request.public_key() == certificate.public_key()
        except (OSError, *UNREADABLE):
            return None
        known = same and self._ledger.certificates.get(serial_text(certificate)) is not None
        return certificate if known else None

    def is_good(self, agent: str, certificate: x509.Certificate) -> bool:
        """Whether the agent can come in with it, or will once it is confirmed."""
        identity = Identity.of(certificate)
        known, holder = self._ledger.certificates.get(identity.serial), self._ledger.agents.get(agent)
        if known is None or known.agent != agent or holder is None or holder.revoked_at:
            return False
        return known.ended_by is Ended.NOT and identity.expires_at > self._ledger.database.clock()

    def _path(self, agent: str, how: str) -> Path:
        return self._folder / f"{agent}.{how}.pem"
