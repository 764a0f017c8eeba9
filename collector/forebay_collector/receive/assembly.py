"""Assembly: one connection's BatchStart and BatchPart messages into sealed batches.

Nothing is allocated for what a header merely declares: the declared size is checked against the limits first, and then
only parts that really came are kept, never more of them than declared. What belongs to a batch that was refused is
passed over until the next BatchStart.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from forebay_collector.receive.refusal import LIMIT, MALFORMED, Refusal
from forebay_wire import limits
from forebay_wire.errors import WireError
from forebay_wire.seal import SealedBatch, parse_header
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2

MOST_PART_BYTES: Final = 2 * limits.PART_BYTES


@dataclass(frozen=True, slots=True)
class Started:
    """A BatchStart that is within the limits."""

    header: bytes
    fields: batch_pb2.BatchHeader
    stream: StreamName

    @property
    def at(self) -> tuple[int, int]:
        return self.fields.epoch, self.fields.seq


@dataclass(slots=True)
class Assembly:
    """At most one batch at a time. `started` is the batch whose parts are being taken, if any."""

    started: Started | None = None
    _parts: list[bytes] = field(default_factory=list)
    _missing: int = 0

    def start(self, header: bytes) -> Started | Refusal:
        """Reads a header. Its parts are passed over unless `take` is called. Whoever calls gave up `started` before."""
        self.give_up()
        try:
            fields = parse_header(header)
            stream = StreamName.from_proto(fields.stream)
        except WireError as error:
            return Refusal.of(error)
        if not fields.payload_bytes:
            return Refusal(MALFORMED, "header: a payload of no bytes")
        return Started(header, fields, stream)

    def take(self, started: Started) -> None:
        """From now on parts belong to this batch."""
        self.started = started
        self._missing = started.fields.payload_bytes

    def part(self, data: bytes) -> SealedBatch | Refusal | None:
        """The batch, when this was its last part; a refusal, when the part is not what was declared."""
        if self.started is None:
            return None
        if not data or len(data) > MOST_PART_BYTES:
            return Refusal(LIMIT, f"a part of {len(data)} bytes; it has 1 to {MOST_PART_BYTES}")
        if len(data) > self._missing:
            return Refusal(LIMIT, f"more parts than the {self.started.fields.payload_bytes} bytes that were declared")
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing:
            return None
        header = self.started.header
        payload = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        batch = SealedBatch(header, payload)
        vars(batch)["fields"] = self.started.fields  # read once already: where its cached property keeps them
        self.give_up()
        return batch

    def give_up(self) -> None:
        """Forgets what was taken; parts are passed over until the next batch."""
        self.started = None
        self._parts = []
        self._missing = 0


def addressed(header: bytes) -> tuple[batch_pb2.Stream, tuple[int, int]]:
    """The stream, epoch and seq that a header which cannot be used names, as far as it can be read."""
    fields = batch_pb2.BatchHeader()
    if len(header) <= limits.MAX_HEADER_BYTES:
        with suppress(DecodeError):
            fields.MergeFromString(header)
    return fields.stream, (fields.epoch, fields.seq)
