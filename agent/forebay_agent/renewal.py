"""Renewal: the certificate is replaced while it is good, by one for a new key that never leaves the appliance.

    from a third of its life left, or when somebody asks      Renew, with the certificate in force
    kept beside it as `identity.next`                          Confirm, with the new one
    confirmed: it takes the place of the old one               uplink and control connect with it

Where there is no line, both travel on a disk (`forebay_agent.ferry`): an export asks, the answer brings the new one, the next
export is sealed with it, which confirms it, and the answer to that puts it in force.

The old one stays until the new one has been seen to work, and whatever ends the process in between, one that works is
there: until Confirm has reached a collector that is the old one, from then on the new one; which of them it is, is settled
before anything else comes in (`entrance.py`). A failure is shown and tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from forebay_agent import enrollment, identity, journal
from forebay_agent.backoff import Backoff
from forebay_agent.channel import open_channel
from forebay_agent.config.model import CollectorConfig
from forebay_agent.diagnosis import explain
from forebay_agent.entrance import Entrance
from forebay_agent.errors import AgentError, CertificateRefused, CollectorUnreachable, StateFolderUnusable
from forebay_agent.identity import UNREADABLE, Identity
from forebay_agent.pulse import Pulses
from forebay_agent.stream_state import Trouble
from forebay_wire.v1 import enroll_pb2, enroll_pb2_grpc

T = TypeVar("T")

PULSE: Final = "renewal"
PART_LEFT: Final = 1 / 3
"""of a certificate's life, from which on it is renewed"""

_CALL_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 30.0
_BACKOFF: Final = (1.0, 600.0)
_PULSE_SECONDS: Final = 600.0
_OF_IDENTITY: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@dataclass(frozen=True, slots=True)
class RenewalState:
    """expires_at_us: of the certificate in force, 0: there is none. trouble: why the last renewal failed."""

    expires_at_us: int = 0
    trouble: Trouble | None = None


class Renewal:
    """`run` is the thread's body; `rotate` is called by others. renewed: called after a new identity took force."""

    def __init__(
        self,
        state_folder: Path,
        config: CollectorConfig,
        entrance: Entrance,
        pulses: Pulses,
        renewed: Callable[[], None],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.state = RenewalState()
        self.config = config
        self._folder = state_folder
        self._entrance = entrance
        self._pulses = pulses
        self._renewed = renewed
        self._now = now
        self._stopped = threading.Event()
        self._one_at_a_time = threading.Lock()

    def run(self) -> None:
        """Looks after the certificate until stopped. Raises StateFolderUnusable."""
        backoff = Backoff(*_BACKOFF)
        try:
            while not self._stopped.is_set():
                self._pulses.tick(PULSE, _PULSE_SECONDS)
                try:
                    self.step()
                    backoff.succeeded()
                    pause = _LOOK_SECONDS
                except StateFolderUnusable:
                    raise
                except AgentError:
                    pause = backoff.next()
                self._stopped.wait(pause)
        finally:
            self._pulses.end(PULSE)

    def stop(self) -> None:
        self._stopped.set()

    def step(self) -> None:
        """Renews when it is time to, or goes on with a renewal that was left; both only where there is a line. Raises why it
        failed."""
        with self._one_at_a_time:
            following, due = identity.load_next(self._folder), self._is_time()
            if self.config.line and (following is not None or due):
                self._renew(following)

    def rotate(self) -> str:
        """Renews now; -> what was done, in words. Raises why it failed."""
        with self._one_at_a_time:
            own = self._renew(identity.load_next(self._folder))
        return f"the certificate was renewed by a new key; it is good until {own.expires_at:%Y-%m-%d %H:%M} UTC"

    def _is_time(self) -> bool:
        try:
            own = identity.load(self._folder)
        except CertificateRefused:
            return False  # uplink and control say so
        # another one than before: it was renewed by disk, or enrolled anew
        same = _expires_at_us(own) == self.state.expires_at_us
        self._show(own, self.state.trouble if same and self.config.line else None)
        return is_due(own, self._now())

    def _renew(self, following: Identity | None) -> Identity:
        """following: one that was kept and not confirmed yet."""
        try:
            own = identity.load(self._folder)
            if following is not None:
                try:
                    return self._confirm(following)
                except _Refused:
                    journal.info("a renewed certificate that was kept is good for nothing; asking for another")
                    identity.discard_next(self._folder)
            return self._confirm(self._ask(own))
        except AgentError as error:
            trouble = Trouble.of(error)
            if self.state.trouble != trouble:
                journal.warning("certificate not renewed", code=trouble.code, reason=trouble.reason)
            self.state = RenewalState(self.state.expires_at_us, trouble)
            raise

    def _ask(self, own: Identity) -> Identity:
        """A new identity, kept beside the one in force."""
        own.check_dates(self._now())
        key = enrollment.new_key()
        request = enroll_pb2.RenewRequest(signing_request=enrollment.signing_request(own.agent, own.department, key))
        response = self._call(own, lambda stub: stub.Renew(request, timeout=_CALL_SECONDS))
        check_given(response.certificate, own, key)
        return identity.keep_next(
            self._folder,
            own,
            key=enrollment.key_pem(key),
            certificate=response.certificate,
            authority=response.authority,
        )

    def _confirm(self, following: Identity) -> Identity:
        """Puts it in force once a collector has taken it. Raises _Refused when it never will."""
        if following.expires_at <= self._now():
            raise _Refused(f"the renewed certificate expired at {following.expires_at:%Y-%m-%d %H:%M} UTC")
        with self._entrance.closed():
            self._call(following, lambda stub: stub.Confirm(enroll_pb2.ConfirmRequest(), timeout=_CALL_SECONDS))
            own = identity.promote(self._folder)
        journal.info("certificate renewed", agent=own.agent, until=f"{own.expires_at:%Y-%m-%d}")
        self._show(own, None)
        self._renewed()
        return own

    def _call(self, by: Identity, ask: Callable[[enroll_pb2_grpc.EnrollServiceStub], T]) -> T:
        """The answer of the first collector that can be reached."""
        failure: AgentError = CollectorUnreachable("no address of a collector is known")
        for address in self.config.addresses or by.addresses:
            channel = open_channel(address, authority=by.authority, certificate=by.certificate, key=by.key)
            try:
                return ask(enroll_pb2_grpc.EnrollServiceStub(channel))
            except grpc.RpcError as error:
                failure = explain(error, address, by.authority, by)
                if isinstance(error, grpc.Call) and error.code() in _OF_IDENTITY:
                    raise _Refused(str(failure), remedy=failure.remedy) from None
            finally:
                channel.close()
        raise failure

    def _show(self, own: Identity, trouble: Trouble | None) -> None:
        self.state = RenewalState(_expires_at_us(own), trouble)


class _Refused(CertificateRefused):
    """A collector has looked at the certificate and does not let it in; not merely: no collector could be asked."""


def is_due(own: Identity, now: datetime) -> bool:
    """Whether it is time to renew the certificate."""
    return own.expires_at - now <= own.life * PART_LEFT


def _expires_at_us(own: Identity) -> int:
    return int(own.expires_at.timestamp() * 1_000_000)


def check_given(certificate: bytes, own: Identity, key: ec.EllipticCurvePrivateKey) -> None:
    """Raises CertificateRefused when it is not for this key and this agent."""
    try:
        given = x509.load_pem_x509_certificate(certificate)
        subject = {attribute.oid: attribute.value for attribute in given.subject}
    except UNREADABLE:
        raise CertificateRefused("the collector answered a renewal with something that is no certificate") from None
    names = (subject.get(x509.NameOID.COMMON_NAME), subject.get(x509.NameOID.ORGANIZATION_NAME))
    if given.public_key() != key.public_key() or names != (own.agent, own.department):
        raise CertificateRefused("the collector answered a renewal with a certificate for another key or agent")
