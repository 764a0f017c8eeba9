"""Approving: an agent's proposals go into the ledger, and what may leave goes back to it.

    agent  -> proposals              -> `proposed`: ledger
    agent  <- Approvals                 `answer`, after the welcome and after each proposals
    ledger -> `changed`, as often as commands are delivered -> agent: new approvals of a connected agent

Every call blocks on the ledger: call it from a thread. Raises LedgerUnavailable, LedgerDamaged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

from forebay_collector.errors import IdentityRefused
from forebay_collector.identity import alarms
from forebay_collector.ledger import AgentRecord, Ledger
from forebay_collector.ledger.proposals import Column, Decided, ProposalRecord
from forebay_collector.settings import APPROVE_ALL
from forebay_wire import limits
from forebay_wire.canary import is_canary_stream
from forebay_wire.errors import LimitExceeded, Malformed, WireError
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

_LOG: Final = logging.getLogger(__name__)
_TEXT: Final = 256
_REASON: Final = 1_000
_AROUND: Final = 8
"""Bytes around one approval in the message."""
_COMPARE_EVERY_S: Final = 5.0
"""Agents that come in while others are told are looked at then."""


class Approving:
    """`mode`: as in collector.toml, auto or manual."""

    def __init__(self, ledger: Ledger, mode: str) -> None:
        self._ledger = ledger
        self._automatic = mode == APPROVE_ALL
        self._newest = 0
        self._compared_at = 0.0

    def proposed(self, agent: AgentRecord, proposals: control_pb2.Proposals) -> None:
        """Keeps what the agent proposes. Raises IdentityRefused when it is not the agent's to propose, or no proposal."""
        try:
            records = [_to_record(agent, proposal) for proposal in proposals.proposals[: limits.MAX_STREAMS]]
        except WireError as error:
            raise IdentityRefused(f"agent {agent.name}: proposal: {error}") from error
        self._ledger.approvals.propose(
            agent.name,
            [record for record in records if not is_canary_stream(record.stream)],
            complete=proposals.complete,
            automatic=self._automatic,
        )

    def answer(self, agent: str) -> control_pb2.Approvals:
        """What may leave now, of all streams of the agent."""
        # the revision first: what changes in between is told again under the next one
        revision = self._ledger.approvals.revisions([agent])[agent]
        records = self._ledger.approvals.listing(agent=agent)
        automatic = self._automatic and not any(record.decided.narrowed for record in records)
        answer = control_pb2.Approvals(automatic=automatic, revision=revision)
        size = 0
        for record in records:
            approved = [control_pb2.ApprovedColumn(name=name, mask=mask) for name, mask in record.may_leave]
            if not approved:
                continue
            approval = control_pb2.Approval(stream=record.stream.to_proto(), columns=approved)
            size += approval.ByteSize() + _AROUND
            if size > limits.MAX_MESSAGE_BYTES:
                _LOG.error("approvals do not fit into one message agent=%s told=%d", agent, len(answer.approvals))
                break
            answer.approvals.append(approval)
        return answer

    def changed(self, told: Mapping[str, int]) -> dict[str, control_pb2.Approvals]:
        """Of these agents (name -> the revision it was told last) those that are to be told, and what.

        Cheap while nothing changes, so that it can be asked often.
        """
        newest = self._ledger.approvals.revision()
        now = time.monotonic()
        if newest == self._newest and now - self._compared_at < _COMPARE_EVERY_S:
            return {}
        revisions = self._ledger.approvals.revisions(told.keys())
        changed = {agent: self.answer(agent) for agent, revision in told.items() if revisions[agent] != revision}
        self._newest, self._compared_at = newest, now
        return changed


def _to_record(agent: AgentRecord, proposal: control_pb2.Proposal) -> ProposalRecord:
    stream = StreamName.from_proto(proposal.stream)
    if stream.department != agent.department:
        raise IdentityRefused(
            f"agent {agent.name} proposes {stream}, which is not of department {agent.department}",
            action=alarms.WRONG_DEPARTMENT,
        )
    if len(proposal.columns) > limits.MAX_COLUMNS:
        raise LimitExceeded(f"{stream}: {len(proposal.columns)} columns; at most {limits.MAX_COLUMNS}")
    names = [column.name for column in proposal.columns]
    for name in (*names, *proposal.key):
        if not name or len(name.encode()) > limits.MAX_NAME_BYTES:
            raise LimitExceeded(f"{stream}: a column name of 0 or more than {limits.MAX_NAME_BYTES} bytes")
    if len(set(names)) != len(names):
        raise Malformed(f"{stream}: a column name is used twice")
    return ProposalRecord(
        stream=stream,
        agent=agent.name,
        columns=tuple(
            Column(column.name, column.origin[:_TEXT], column.type[:_TEXT], column.mask[:_TEXT])
            for column in proposal.columns
        ),
        key=tuple(proposal.key),
        mode=proposal.mode[:_TEXT],
        guarantee=proposal.guarantee[:_TEXT],
        update_cycle=proposal.update_cycle[:_TEXT],
        code=proposal.code[:_TEXT],
        reason=proposal.reason[:_REASON],
        first_seen_at=0,
        changed_at=0,
        gone_at=0,
        decided=Decided(),
    )
