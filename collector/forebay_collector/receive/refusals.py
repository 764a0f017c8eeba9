"""Refusals: what one connection was refused, said to the agent, in the log and in the audit.

A refused batch holds its stream on this connection: what the agent had sent behind it, not knowing, is refused as a gap,
so that every batch is answered once. That ends when the agent asks for the stream's mark again, comes again with the
refused batch or an earlier one, or, where sending the same again would not help, starts an epoch.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from forebay_collector.identity import alarms
from forebay_collector.identity.names import Identity
from forebay_collector.ledger import Ledger, StreamRecord
from forebay_collector.receive.answers import Answers
from forebay_collector.receive.lanes import Lanes
from forebay_collector.receive.refusal import AUDITED, GAP, NOT_YOURS, UNAVAILABLE, UNKNOWN_SCHEMA, Refusal
from forebay_wire import limits
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2

_SENT_AGAIN: Final = (GAP, UNAVAILABLE, UNKNOWN_SCHEMA)
_log = logging.getLogger(__name__)


class Refusals:
    __slots__ = ("_agent", "_answers", "_auditing", "_holding", "_lanes", "_ledger", "_peer")

    def __init__(self, ledger: Ledger, lanes: Lanes, agent: Identity, answers: Answers, peer: str) -> None:
        self._ledger = ledger
        self._lanes = lanes
        self._agent = agent
        self._answers = answers
        self._peer = peer
        self._holding: dict[StreamName, tuple[tuple[int, int], int]] = {}
        self._auditing: set[asyncio.Task[None]] = set()

    def send(self, name: batch_pb2.Stream, at: tuple[int, int], refusal: Refusal) -> None:
        """Refuses the batch at (epoch, seq), and holds its stream; (0, 0): the stream itself."""
        try:
            stream = StreamName.from_proto(name)
        except WireError:
            stream = None
        if stream is not None and at != (0, 0):
            if self.is_behind(stream, at):
                self.send_behind(stream, at)
                return
            if len(self._holding) < limits.MAX_STREAMS:
                self._holding[stream] = (at, refusal.code)
        self._answers.refused(name, *at, refusal, self._mark(stream))
        if refusal.repeated:
            return
        subject = str(stream) if stream is not None else "a stream without a name"
        _log.warning(
            "batch refused agent=%s stream=%s epoch=%d seq=%d code=%s reason=%s",
            *(self._agent.agent, subject, *at, refusal.name, refusal.reason),
        )
        if refusal.code in AUDITED:
            self._audit(subject, at, refusal)

    def is_behind(self, stream: StreamName, at: tuple[int, int]) -> bool:
        """Whether the batch was sent behind one that is refused; one that comes again ends that."""
        if stream not in self._holding:
            return False
        refused, code = self._holding[stream]
        starts_epoch = at[1] == 1 and code not in _SENT_AGAIN
        if at > refused and not starts_epoch:
            return True
        self.forget(stream)
        return False

    def send_behind(self, stream: StreamName, at: tuple[int, int]) -> None:
        """Refuses what `is_behind`."""
        refusal = Refusal(GAP, "sent behind a batch that was refused")
        self._answers.refused(stream.to_proto(), *at, refusal, self._mark(stream))

    def forget(self, stream: StreamName) -> None:
        """Nothing holds the stream on this connection any more."""
        self._holding.pop(stream, None)

    def _mark(self, stream: StreamName | None) -> StreamRecord | None:
        ours = stream is not None and stream.department == self._agent.department
        return self._lanes.mark(stream) if ours and stream is not None else None

    def _audit(self, subject: str, at: tuple[int, int], refusal: Refusal) -> None:
        """Bounded in how often: what an agent repeats is in the log."""
        foreign = refusal.code == NOT_YOURS
        action = alarms.WRONG_DEPARTMENT if foreign else "batch refused"
        detail = {"epoch": at[0], "seq": at[1], "code": refusal.name, "department": self._agent.department}

        async def note() -> None:
            who, why, same = self._agent.agent, refusal.reason, refusal.name
            await asyncio.to_thread(
                self._ledger.refusals.note, who, action, subject, why, detail, peer=self._peer, same=same
            )

        task = asyncio.ensure_future(note())
        self._auditing.add(task)
        task.add_done_callback(self._auditing.discard)
