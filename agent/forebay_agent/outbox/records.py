"""What the outbox knows of a stream, as frozen objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from forebay_wire.seal import Link
from forebay_wire.stream import StreamName

START: Final = "{}"
"""The checkpoint of a stream of which nothing was captured."""


class Superseded(Exception):
    """The stream was reset after the batch's link was read: read the record again and capture from its checkpoint."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Collector and outbox do not fit together: what the collector holds (epoch 0: nothing), and why nothing goes on.

    code: that of `forebay_agent.errors`.
    """

    code: str
    reason: str
    epoch: int
    seq: int
    chain: bytes


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """A stream as the outbox holds it. `chain`: of the batch that the next one follows. `checkpoint`: JSON."""

    id: int
    name: StreamName
    epoch: int
    next_seq: int
    chain: bytes
    checkpoint: str
    window: int
    hold: Hold | None

    @property
    def link(self) -> Link:
        return Link(self.epoch, self.next_seq, self.chain)

    @property
    def last(self) -> tuple[int, int]:
        """(epoch, seq) of the last batch sealed in this epoch; seq 0: none yet."""
        return self.epoch, self.next_seq - 1


@dataclass(frozen=True, slots=True)
class SeenChanges:
    """What a piece of a re-read window changes in the memory of sealed rows, by digests of 16 bytes.

    remember: (key, row) of rows that the next window reads again. forget: keys whose rows it does not. forget_all: rows
    were sealed beside the windows (a snapshot), so that nothing remembered is sure to be what was sealed last.
    """

    remember: tuple[tuple[bytes, bytes], ...] = ()
    forget: tuple[bytes, ...] = ()
    last_of_window: bool = False
    forget_all: bool = False


@dataclass(frozen=True, slots=True)
class WaitingBatch:
    """A batch that the collector has not called durable, without its payload."""

    epoch: int
    seq: int
    chain: bytes
    size: int
    header: bytes


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How full the outbox is. Bytes are those of batches; `full`: the last batch found no room."""

    batches: int
    bytes: int
    cap_bytes: int
    disk_free_bytes: int
    full: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """One line of the audit of resets."""

    name: StreamName
    at_us: int
    who: str
    why: str
    old_epoch: int
    old_next_seq: int
    new_epoch: int
    abandoned_batches: int
    abandoned_bytes: int
