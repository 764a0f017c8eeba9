"""Certificates that end."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from forebay_agent import identity
from forebay_collector.identity.authority import Authority, key_pem, new_key, pem
from forebay_collector.identity.names import expires_at_us, serial_text
from forebay_collector.ledger import Ledger
from tests.faults.fault import AGENTS, Fault

_LIFE: Final = timedelta(seconds=1)


class ExpiredCertificate(Fault):
    """The agent's certificate is replaced by one that the authority signed for a second, and that has ended. The remedy:
    enrol again with a new token."""

    name = "expired certificate"
    on = AGENTS

    def inject(self) -> None:
        self.member.kill()
        state, collector = self.fleet.state(self.place), self.fleet.members["collector"]
        own = identity.load(state)
        key = new_key()
        request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
        with collector.disk.reading:
            authority = Authority.load(self.fleet.data / "identity")
            certificate = authority.agent_certificate(
                request.public_bytes(serialization.Encoding.DER), own.agent, own.department, _LIFE
            )
            ledger = Ledger.open(self.fleet.data / "ledger.db")
            present = serial_text(x509.load_pem_x509_certificate(own.certificate))
            ledger.certificates.renew(own.agent, present, serial_text(certificate), expires_at_us(certificate))
            ledger.certificates.confirm(own.agent, serial_text(certificate))
            ledger.close()
        identity.keep_next(state, own, key=key_pem(key), certificate=pem(certificate), authority=own.authority)
        self._expires = identity.promote(state).expires_at
        while datetime.now(UTC) <= self._expires + timedelta(seconds=1):
            time.sleep(0.1)
        self.member.start()

    def struck(self) -> str:
        refused = any("expired" in line for line in self.member.told_since_start())
        return f"refused: it ended at {self._expires:%H:%M:%S}" if refused else ""

    def heal(self) -> None:
        self.wait(self._collector_is_there, "the collector is there to make a token")
        self.fleet.enrol(self.place)

    def _collector_is_there(self) -> bool:
        return self.fleet.members["collector"].runs


KINDS: Final = (ExpiredCertificate,)
