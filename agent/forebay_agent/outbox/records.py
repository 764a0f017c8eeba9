"""What the outbox knows of a stream, as frozen objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from forebay_wire.schema import TableSchema
from forebay_wire.seal import Link, SealedBatch
from forebay_wire.stream import StreamName

START: Final = "{}"
"""The checkpoint of a stream of which nothing was captured."""


class Superseded(Exception):
    """Streams were reset after the batches' links were read: read their records again and capture from their checkpoints.

    names: of those streams; never empty.
    """

    def __init__(self, names: Sequence[StreamName]) -> None:
        super().__init__(f"{', '.join(map(str, names))}: no longer as captured from: reset meanwhile")
        self.names = frozenset(names)


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

    def next_epoch(self) -> StreamRecord:
        """The stream as its next epoch begins: from the start of its table, on the same chain, so that what waits is still
        sent. See `NewEpoch` for how it is kept."""
        return replace(self, epoch=self.epoch + 1, next_seq=1, checkpoint=START)


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
class NewEpoch:
    """An epoch that log capture began by itself, for the audit of resets. old_next_seq, old_checkpoint: of the epoch before
    it, as it ended."""

    epoch: int
    old_next_seq: int
    old_checkpoint: str
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class StreamPut:
    """What one stream takes part with in `Outbox.put_log`.

    before, after: the stream as it stood and as it stands afterwards. batches: consecutive from `before.link` on; they may
    cross into `epochs`. schemas: what opens them, as far as the outbox may not have them yet.
    """

    before: StreamRecord
    after: StreamRecord
    batches: Sequence[SealedBatch]
    schemas: Sequence[TableSchema] = ()
    epochs: Sequence[NewEpoch] = ()
    seen_changes: SeenChanges | None = None

    @property
    def size(self) -> int:
        """Bytes of the batches."""
        return sum(batch.size for batch in self.batches)


@dataclass(frozen=True, slots=True)
class LogRecord:
    """How far a source's log was captured. checkpoint: the dialect's own text. tables: streams' table names (schema.table)
    that were followed up to it."""

    checkpoint: str
    tables: frozenset[str]


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
