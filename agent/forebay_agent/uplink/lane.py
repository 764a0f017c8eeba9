"""Lane: one stream on one connection.

ASKING   the collector's mark is awaited; nothing is sent
OPEN     batches after `sent` are sent
PAUSING  a batch was refused: nothing more is sent, and nothing sent behind it counts; after a pause, and once all
         that was sent before it is answered, the lane asks anew, or is held
HELD     waits for a person; asks anew at a slow pace
UNAPPROVED  the next batch may not leave: it waits until the centre approves otherwise
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from forebay_agent.backoff import Backoff
from forebay_agent.errors import AgentError
from forebay_wire.digest import GENESIS
from forebay_wire.stream import StreamName

HELD_SECONDS: Final = 30.0


class Standing(Enum):
    ASKING = "asking"
    OPEN = "open"
    PAUSING = "pausing"
    HELD = "held"
    UNAPPROVED = "unapproved"


@dataclass(frozen=True, slots=True)
class Unapproved:
    """Why a batch under this schema may not leave, as of a generation of the approvals."""

    fingerprint: bytes
    why: str
    generation: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch that is on the wire and not answered. size: its payload's bytes."""

    at: tuple[int, int]
    chain: bytes
    size: int


@dataclass(slots=True)
class Lane:
    """id: StreamRecord.id. epoch: of the record when it was last read. sent: (epoch, seq), the next batch is the one after; chain: its chain digest.
    idle: nothing waits after `sent`. ask_at: when to ask for the mark again, on the monotonic clock, 0: not. verdict: what
    holds the lane once everything sent before the refused batch was answered. refusals: in a row, of batches that may be
    sent again. hold_kept: the outbox keeps a Hold of the stream. unapproved: what is UNAPPROVED.
    patient_until: when to ask whatever is on the wire, on the monotonic clock, 0: when that is answered."""

    id: int
    name: StreamName
    priority: int
    epoch: int
    backoff: Backoff
    standing: Standing = Standing.ASKING
    sent: tuple[int, int] = (0, 0)
    chain: bytes = GENESIS
    in_flight: deque[Sent] = field(default_factory=deque)
    idle: bool = False
    ask_at: float = 0.0
    verdict: AgentError | None = None
    refusals: int = 0
    hold_kept: bool = False
    unapproved: Unapproved | None = None
    patient_until: float = 0.0

    @property
    def ready(self) -> bool:
        return self.standing is Standing.OPEN and not self.idle

    def opened(self, after: tuple[int, int], chain: bytes) -> None:
        """Sends what comes after (epoch, seq), which has this chain digest."""
        self.chain = chain
        self.standing, self.sent, self.idle, self.verdict, self.ask_at = Standing.OPEN, after, False, None, 0.0
        self.unapproved = None

    def answered_through(self, at: tuple[int, int]) -> Sent | None:
        """Takes everything up to (epoch, seq) off the wire. -> the batch at (epoch, seq), None when it was not on it."""
        found = None
        if any(sent.at == at for sent in self.in_flight):
            while found is None or found.at != at:
                found = self.in_flight.popleft()
        return found

    def refused(self, at: tuple[int, int]) -> bool:
        """Takes this batch, and what was sent behind it, off the wire: the collector passes over it. -> whether this is
        news: an answer to something that is on the wire, or to the question for the mark (0, 0)."""
        on_the_wire = any(sent.at == at for sent in self.in_flight)
        while self.in_flight and self.in_flight[-1].at >= at:
            self.in_flight.pop()
        return on_the_wire or at == (0, 0)
