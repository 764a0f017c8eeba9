"""Requests: what files of agents ask of the centre besides taking batches, by the functions that a line's services call.

    EnrollRequest   `Enrolment.spend`      -> EnrollResponse, or FerryRefused
    Proposals       `Approving.proposed`   -> Approvals
    RenewRequest    `Enrolment.renew`      -> RenewResponse
    the first file that a renewed certificate sealed: `Enrolment.confirm`

Asked again, by the same file or by one that names the same key, a certificate is the same again (`given.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from forebay_collector.control.approving import Approving
from forebay_collector.errors import CollectorError, FerryRefused, IdentityRefused, TokenRefused
from forebay_collector.ferry.given import Given
from forebay_collector.identity import alarms
from forebay_collector.identity.admission import find_agent, note_refusal
from forebay_collector.identity.authority import Authority, pem
from forebay_collector.identity.enroll import ENROLMENT, RENEWAL, Enrolment
from forebay_collector.identity.names import Identity
from forebay_collector.ledger import AgentRecord, Ledger
from forebay_wire import ferry
from forebay_wire.errors import WireError
from forebay_wire.v1 import control_pb2, enroll_pb2, ferry_pb2

_HEARTBEATS: Final = 4


class Requests:
    """Every method raises LedgerUnavailable, LedgerDamaged."""

    def __init__(self, ledger: Ledger, authority: Authority, approving: Approving, given: Path) -> None:
        """given: the folder of `Given`."""
        self._ledger = ledger
        self._authority = authority
        self._approving = approving
        self._given = Given(given, ledger)
        self._enrolment = Enrolment(ledger, authority, keep=self._given.keep)

    def enrol(self, path: Path, identity: Identity) -> ferry_pb2.FerryRecord:
        """identity: of the token's certificate, which sealed the file. -> the answer, a refusal too. Raises FerryRefused when it
        asks for nothing."""
        request = _first(path, "enroll")
        if request is None:
            raise FerryRefused(f"{path.name}: is sealed with a token's certificate, and asks for nothing")
        try:
            return ferry_pb2.FerryRecord(enrolled=self._enrolled(path, request.enroll, identity))
        except (TokenRefused, IdentityRefused) as error:
            note_refusal(identity, error, error.action, self._ledger, f"ferry:{path.name}")
            return refusal(error)

    def _enrolled(self, path: Path, request: enroll_pb2.EnrollRequest, identity: Identity) -> enroll_pb2.EnrollResponse:
        before = self._given.find(identity.agent, ENROLMENT, request.signing_request)
        if before is not None:
            if not self._given.is_good(identity.agent, before):
                raise FerryRefused(
                    f"{path.name}: was taken before, and the certificate that it was given has ended since",
                    remedy="Remove the file. Where the agent has no certificate that is good, make a new token for it.",
                )
            authority = pem(self._authority.certificate)
            return enroll_pb2.EnrollResponse(
                agent=identity.agent, department=identity.department, certificate=pem(before), authority=authority
            )
        return self._enrolment.spend(request, identity)

    def unconfirmed(self, identity: Identity) -> bool:
        """Whether this is a renewed certificate that comes in first. Raises IdentityRefused when it may not come in."""
        try:
            find_agent(self._ledger, identity)
        except IdentityRefused as error:
            if error.action == alarms.UNCONFIRMED:
                return True
            raise
        return False

    def confirm(self, identity: Identity) -> None:
        """Raises IdentityRefused."""
        self._enrolment.confirm(identity)

    def heard(self, path: Path, agent: AgentRecord) -> Iterator[ferry_pb2.FerryRecord]:
        """Takes what the agent's file proposes and asks for; -> the answers to it. Raises IdentityRefused, FerryRefused."""
        renewed: enroll_pb2.RenewResponse | None = None
        for record in _before_batches(path):
            if record.HasField("control_up") and record.control_up.HasField("proposals"):
                if self._has_a_line(agent):
                    continue  # it says there what it proposes: this may be older
                self._approving.proposed(agent, record.control_up.proposals)
            elif record.HasField("renew") and renewed is None:
                renewed = self._renewed(record.renew, agent)
        if renewed is not None:
            yield ferry_pb2.FerryRecord(renewed=renewed)

    def standing(self, agent: AgentRecord) -> Iterator[ferry_pb2.FerryRecord]:
        """What every answer to the agent says: what may leave, and which of its certificates is in force."""
        approvals = control_pb2.ControlResponse(approvals=self._approving.answer(agent.name))
        yield ferry_pb2.FerryRecord(control_down=approvals)
        yield ferry_pb2.FerryRecord(standing=ferry_pb2.FerryStanding(serial=agent.serial))

    def _has_a_line(self, agent: AgentRecord) -> bool:
        """Now. What the ledger has as connected may be left of a collector that was killed: heartbeats tell."""
        silent_us = self._ledger.database.clock() - agent.last_seen_at
        return agent.connected_since > 0 and silent_us < _HEARTBEATS * agent.heartbeat_ms * 1_000

    def _renewed(self, request: enroll_pb2.RenewRequest, agent: AgentRecord) -> enroll_pb2.RenewResponse:
        before = self._given.find(agent.name, RENEWAL, request.signing_request)
        if before is not None and self._given.is_good(agent.name, before):
            return enroll_pb2.RenewResponse(certificate=pem(before), authority=pem(self._authority.certificate))
        return self._enrolment.renew(request, agent)


def refusal(error: CollectorError, serial: str = "") -> ferry_pb2.FerryRecord:
    """serial: of the certificate that sealed what was refused; empty: a token's."""
    return ferry_pb2.FerryRecord(refused=ferry_pb2.FerryRefused(code=error.code, reason=str(error), serial=serial))


def asks_more(path: Path) -> bool:
    """Whether the file holds anything besides an upload. Raises FerryRefused."""
    return next(_before_batches(path), None) is not None


def _first(path: Path, kind: str) -> ferry_pb2.FerryRecord | None:
    return next((record for record in _before_batches(path) if record.WhichOneof("kind") == kind), None)


def _before_batches(path: Path) -> Iterator[ferry_pb2.FerryRecord]:
    """What stands before an upload's first message. Raises FerryRefused."""
    try:
        for record in ferry.records(path):
            if record.HasField("up"):
                return
            yield record
    except WireError as error:
        raise FerryRefused(str(error)) from None
    except OSError as error:
        raise FerryRefused(f"{path.name}: cannot be read: {error.strerror}") from None
