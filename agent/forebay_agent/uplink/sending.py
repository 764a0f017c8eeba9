"""Sending: what goes out on one connection. gRPC runs `requests` in a thread of its own.

Shared with the session's thread: lanes, window and questions, all under `changed`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from forebay_agent import journal
from forebay_agent.errors import AgentError, OutboxDamaged
from forebay_agent.outbox import OutboxReader
from forebay_agent.uplink import requests
from forebay_agent.uplink.bandwidth import Bandwidth
from forebay_agent.uplink.hours import Hours
from forebay_agent.uplink.lane import Lane, Sent, Standing, Unapproved
from forebay_agent.uplink.permission import Permission
from forebay_agent.uplink.turns import Turns
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2, upload_pb2

_LOOK_SECONDS: Final = 2.0


class Sending:
    """window: payload bytes that may be on the wire. failure: why `requests` ended, when it was not asked to. left: it ended
    in the middle of a batch, since its hours did; on another connection the batch comes whole."""

    def __init__(
        self,
        lanes: dict[StreamName, Lane],
        reader: OutboxReader,
        bandwidth: Bandwidth,
        hours: Hours,
        window: int,
        permission: Permission,
        wake: Callable[[], None],
    ) -> None:
        self.changed = threading.Condition()
        self.lanes = lanes
        self.window = window
        self.schemas: set[tuple[int, bytes]] = set()
        self.sent_bytes = 0
        self.failure: AgentError | None = None
        self.left = False
        self._reader = reader
        self._bandwidth = bandwidth
        self._hours = hours
        self._permission = permission
        self._wake = wake
        self._turns = Turns()
        self._questions: deque[StreamName] = deque()
        self._closed = False

    def ask(self, name: StreamName) -> None:
        """Asks for a stream's mark. Under `changed`."""
        self._questions.append(name)
        self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    @property
    def on_the_wire(self) -> int:
        """Payload bytes not answered yet. Under `changed`."""
        return sum(sent.size for lane in self.lanes.values() for sent in lane.in_flight)

    def requests(self) -> Iterator[upload_pb2.UploadRequest]:
        """The iterator that gRPC consumes."""
        try:
            with self.changed:
                names = list(self.lanes)
            yield upload_pb2.UploadRequest(hello=requests.hello(names))
            while not self.left:
                chosen = self._choose()
                if chosen is None:
                    return
                if isinstance(chosen, Lane):
                    yield from self._batch(chosen)
                else:
                    yield upload_pb2.UploadRequest(more=requests.hello(chosen))
        except AgentError as error:
            self.failure = error
        except Exception as error:
            self.failure = journal.unexpected(error)
        finally:
            self._reader.close()
            self._wake()

    def _choose(self) -> Lane | list[StreamName] | None:
        """A lane that has a batch to send, or questions; waits for either. None: closed."""
        with self.changed:
            while not self._closed:
                if self._questions:
                    names = list(dict.fromkeys(self._questions))
                    self._questions.clear()
                    return names
                by_id = {lane.id: lane for lane in self.lanes.values() if lane.ready}
                chosen = self._turns.pick(by_id) if self._hours.are_open else None
                if chosen is not None:
                    return by_id[chosen]
                self.changed.wait(_LOOK_SECONDS)
        return None

    def _batch(self, lane: Lane) -> Iterator[upload_pb2.UploadRequest]:
        with self.changed:
            after, chain = lane.sent, lane.chain
            lane.idle = True  # whatever arrives from here on unsets it again
        batch = self._reader.next_batch(lane.id, after)
        if batch is None:
            self._check_end(lane, after, chain)
            return
        fields = batch.fields
        if fields.previous_chain != chain:
            self._check_turn(
                lane, after, f"epoch {fields.epoch} seq {fields.seq} does not follow what was sent before it"
            )
            return
        if self._refuse_unapproved(lane, after, fields):
            return
        if not self._enter(lane, after, batch, fields):
            return
        if (lane.id, fields.schema_fingerprint) not in self.schemas:
            yield requests.schema(self._reader, lane.name, fields)
            self.schemas.add((lane.id, fields.schema_fingerprint))
        yield requests.start(batch)
        for part in requests.parts(batch):
            size = len(part.batch_part.data)
            self._bandwidth.take(size)
            if not self._wait_for_turn():
                return
            yield part
            self.sent_bytes += size

    def _check_end(self, lane: Lane, after: tuple[int, int], chain: bytes) -> None:
        """Nothing waits after what was sent: then the stream must end there. Raises OutboxDamaged."""
        record, last = self._reader.end(lane.id)
        end = chain if last is None or (last.epoch, last.seq) <= after else last.chain
        if record.chain != end and record.epoch == lane.epoch and record.hold is None:
            self._check_turn(
                lane, after, f"what was sealed up to epoch {record.epoch} seq {record.last[1]} is not all there"
            )

    def _check_turn(self, lane: Lane, after: tuple[int, int], how: str) -> None:
        """Raises OutboxDamaged unless the lane was refused, rewound or reset meanwhile."""
        with self.changed:
            if lane.standing is Standing.OPEN and lane.sent == after:
                raise OutboxDamaged(f"{lane.name}: the outbox is damaged: {how}")

    def _refuse_unapproved(self, lane: Lane, after: tuple[int, int], fields: batch_pb2.BatchHeader) -> bool:
        """Whether the batch may not leave; then its lane stands still."""
        generation = self._permission.generation
        why = self._permission.why_not(lane.name, fields.schema_fingerprint, self._reader)
        if not why:
            return False
        with self.changed:
            if lane.standing is Standing.OPEN and lane.sent == after:
                lane.standing = Standing.UNAPPROVED
                lane.unapproved = Unapproved(fields.schema_fingerprint, why, generation)
        self._wake()
        return True

    def _enter(self, lane: Lane, after: tuple[int, int], batch: SealedBatch, fields: batch_pb2.BatchHeader) -> bool:
        """Waits until the window has room, then counts the batch as on the wire. False: it is not this batch's turn any
        more (refused, rewound, closed)."""
        size = len(batch.payload)
        with self.changed:
            lane.idle = False
            while lane.standing is Standing.OPEN and lane.sent == after and not self._closed:
                held = self.on_the_wire
                if not held or held + size <= self.window:
                    lane.sent, lane.chain = (fields.epoch, fields.seq), fields.chain
                    lane.in_flight.append(Sent(lane.sent, fields.chain, size))
                    self._turns.spent(lane.id, batch.size, lane.priority)
                    return True
                self.changed.wait(_LOOK_SECONDS)
        return False

    def _wait_for_turn(self) -> bool:
        """Waits until what was taken of the bandwidth may go. False: closed, or its hours ended, meanwhile."""
        with self.changed:
            while not self._closed:
                if not self._hours.are_open:
                    self.left = True
                    return False
                owed = self._bandwidth.owed()
                if owed <= 0:
                    return True
                self.changed.wait(min(owed, _LOOK_SECONDS))
        return False
