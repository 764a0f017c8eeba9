"""One connection to the centre: what was proposed goes up when it is news, what is approved comes down.

The centre sends its approvals after its welcome, and whenever they change. One that never does is older than this agent:
what was approved before goes on, and nothing else begins.
"""

from __future__ import annotations

from typing import Final

from forebay_agent import journal
from forebay_agent.approval.approvals import Approvals
from forebay_agent.approval.proposals import Proposals
from forebay_agent.clock import Clock
from forebay_wire import limits
from forebay_wire.v1 import control_pb2

PATIENCE_SECONDS: Final = 30.0
_MESSAGE_BYTES: Final = limits.MAX_MESSAGE_BYTES // 2


class Exchange:
    """Used by control's thread."""

    def __init__(self, approvals: Approvals, proposals: Proposals, clock: Clock) -> None:
        self._approvals = approvals
        self._proposals = proposals
        self._clock = clock
        self._collector = ""
        self._patient_until: float | None = None
        self._told = self._complete_at = 0

    def welcomed(self, collector: str) -> None:
        """The connection is there. collector: its version."""
        self._collector = collector
        self._patient_until = self._clock.monotonic() + PATIENCE_SECONDS

    def due(self) -> list[control_pb2.ControlRequest]:
        """What is to be sent now; nothing before the welcome."""
        if not self._collector:
            return []
        self._approvals.keep()
        self._look_for_silence()
        news = self._proposals.since(self._told, self._complete_at)
        if news is None:
            return []
        self._told = news.generation
        if news.complete:
            self._complete_at = news.generation
        return list(requests(news.to_proto()))

    def take(self, message: control_pb2.Approvals) -> None:
        self._patient_until = None
        self._approvals.take(message)

    def _look_for_silence(self) -> None:
        if self._patient_until is None or self._clock.monotonic() < self._patient_until:
            return
        self._patient_until = None
        reason = (
            f"the collector (version {self._collector}) does not say what it approves: it is older than this agent. "
            "What was approved before goes on; nothing else begins until it is brought up to date"
        )
        self._approvals.silent = reason
        journal.warning("no approvals", reason=reason)


def requests(whole: control_pb2.Proposals) -> list[control_pb2.ControlRequest]:
    """In one message, where it can be; a complete one that is too large is told in parts that are not."""
    if whole.ByteSize() <= _MESSAGE_BYTES:
        return [control_pb2.ControlRequest(proposals=whole)]
    parts: list[control_pb2.ControlRequest] = []
    part = control_pb2.Proposals()
    size = 0
    for proposal in whole.proposals:
        if size and size + proposal.ByteSize() > _MESSAGE_BYTES:
            parts.append(control_pb2.ControlRequest(proposals=part))
            part, size = control_pb2.Proposals(), 0
        part.proposals.append(proposal)
        size += proposal.ByteSize() + 8
    parts.append(control_pb2.ControlRequest(proposals=part))
    return parts
