"""Certificates that end."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from forebay_agent import identity
from forebay_collector.identity.authority import Authority, key_pem, new_key, pem
from forebay_collector.identity.names import expires_at_us, serial_text
from forebay_collector.ledger import Ledger
from tests.faults.fault import AGENTS, Fault
from tests.faults.fleet import COLLECTOR

_LIFE: Final = timedelta(seconds=1)


class ExpiredCertificate(Fault):
    """The agent's certificate is replaced by one that the authority signed for a second, and that has ended. The remedy:
    enrol again with a new token."""

    name = "expired certificate"
    on = AGENTS
    by_hand = True

    def inject(self) -> None:
        self.member.kill()
        state = self.fleet.state(self.place)
        own, key = identity.load(state), new_key()
        self.patiently(lambda: self._give(own, key))
        self._expires = identity.promote(state).expires_at
        while datetime.now(UTC) <= self._expires + timedelta(seconds=1):
            time.sleep(0.1)
        self.member.start()

    def _give(self, own: identity.Identity, key: ec.EllipticCurvePrivateKey) -> None:
        """At the centre and at the agent, as a renewal would."""
        request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
        with self.fleet.members[COLLECTOR].disk.reading:
            authority = Authority.load(self.fleet.data / "identity")
            certificate = authority.agent_certificate(
                request.public_bytes(serialization.Encoding.DER), own.agent, own.department, _LIFE
            )
            ledger = Ledger.open(self.fleet.data / "ledger.db")
            present = serial_text(x509.load_pem_x509_certificate(own.certificate))
            ledger.certificates.renew(own.agent, present, serial_text(certificate), expires_at_us(certificate))
            ledger.certificates.confirm(own.agent, serial_text(certificate))
            ledger.close()
        state = self.fleet.state(self.place)
        identity.keep_next(state, own, key=key_pem(key), certificate=pem(certificate), authority=own.authority)

    def struck(self) -> str:
        refused = any("expired" in line for line in self.member.told_since_kill().splitlines())
        return f"refused: it ended at {self._expires:%H:%M:%S}" if refused else ""

    def heal(self) -> None:
        self.patiently(lambda: self.fleet.enrol(self.place))


KINDS: Final = (ExpiredCertificate,)
