"""Session: one connection to one collector, from its hello to its end. What comes back decides.

    Marks     per stream: fits -> durable batches are deleted, the lane opens; does not fit -> the stream is held
    Durable   the batch sent, by its chain -> it and all before it leave the outbox
    Refused   try again after a pause, or hold the stream; other streams go on
    what the centre does not approve is not sent: its stream stands still until it does
    Loaded    shown

Three threads: gRPC's runs `Sending.requests`, a small one turns answers into events, and the uplink's own (`run`)
handles events, so that deletions of acknowledged batches gather while one is being written.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, TypeAlias, cast

import grpc

from forebay_agent.backoff import Backoff
from forebay_agent.clock import Clock
from forebay_agent.errors import CollectorUnreachable, OutboxFull
from forebay_agent.outbox import Outbox, OutboxReader
from forebay_agent.uplink.bandwidth import Bandwidth
from forebay_agent.uplink.hours import Hours
from forebay_agent.uplink.lane import HELD_SECONDS, Lane, Standing, Unapproved
from forebay_agent.uplink.permission import Permission
from forebay_agent.uplink.sending import Sending
from forebay_agent.uplink.verdicts import Verdicts
from forebay_wire import limits
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2, upload_pb2, upload_pb2_grpc

HELLO_SECONDS: Final = 30.0
"""for the first Marks"""
ANSWER_SECONDS: Final = 120.0
"""without anything sent or answered while batches are on the wire: the collector hangs"""
AGAIN_SECONDS: Final = 5.0
"""for what is on the wire of a stream to be answered, before its mark is asked for all the same"""
_LOOK_SECONDS: Final = 0.5
_REST_SECONDS: Final = 2.0
"""between looks while all lanes are open and nothing is on the wire: whatever changes that wakes the session"""
_MOST_EVENTS: Final = 1_000
_LANE_BACKOFF: Final = (0.5, 30.0)
_STANDING_STILL: Final = (Standing.HELD, Standing.UNAPPROVED)

_Event: TypeAlias = upload_pb2.UploadResponse | grpc.RpcError | None
"""An answer, the call's end, or just a reason to look."""


class Session:
    """Used by the uplink's thread, but for `wake`. progress: whether the collector answered at all."""

    def __init__(
        self,
        channel: grpc.Channel,
        outbox: Outbox,
        verdicts: Verdicts,
        clock: Clock,
        *,
        window: int,
        bandwidth: Bandwidth,
        hours: Hours,
        permission: Permission,
        priority_of: Callable[[StreamName], int],
        tick: Callable[[], None],
    ) -> None:
        self.progress = False
        self._channel = channel
        self._outbox = outbox
        self._verdicts = verdicts
        self._clock = clock
        self._window = window
        self._permission = permission
        self._priority_of = priority_of
        self._tick = tick
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._reader: OutboxReader = outbox.reader()
        self._lanes: dict[StreamName, Lane] = {}
        for record in self._reader.streams():
            self._add_lane(record.id, record.name, record.epoch)
        window = min(window, limits.WINDOW_BYTES)
        self.sending = Sending(self._lanes, outbox.reader(), bandwidth, hours, window, permission, self.wake)
        self._durable: dict[int, tuple[int, int]] = {}
        self._again: set[StreamName] = set()
        self._looked_at = 0.0
        self._rests = False

    def again(self, name: StreamName) -> None:
        """Asks for the stream's mark anew and sends what comes after it; from any thread."""
        with self.sending.changed:
            self._again.add(name)
        self.wake()

    def wake(self) -> None:
        """Something may be to do; from any thread."""
        self._events.put(None)

    def run(self, stopping: Callable[[], bool]) -> grpc.RpcError | None:
        """Sends and deletes until stopped, or left for its hours' end (-> None), or until the call ends (-> its error).

        Raises: CollectorUnreachable when the collector stays silent; OutboxDamaged, StateFolderUnusable.
        """
        stub = upload_pb2_grpc.UploadServiceStub(self._channel)
        call = stub.Upload(self.sending.requests())
        answers = threading.Thread(target=self._listen, args=(call,), name="uplink-answers", daemon=True)
        answers.start()
        try:
            return self._loop(stopping)
        finally:
            self.sending.close()
            call.cancel()
            answers.join(5)
            self._reader.close()

    def _loop(self, stopping: Callable[[], bool]) -> grpc.RpcError | None:
        alive_at, sent_before = self._clock.monotonic(), 0
        while not stopping():
            self._tick()
            events = self._next_events(_REST_SECONDS if self._rests else _LOOK_SECONDS)
            with self.sending.changed:
                ended = [self._handle(event) for event in events]
                self._look_after_lanes()
                waits = bool(self.sending.on_the_wire) or not self.progress
                still = not waits and all(lane.standing is Standing.OPEN for lane in self._lanes.values())
                if events:
                    self.sending.changed.notify_all()
            self._delete_durable()
            self._rests = still and not self._durable
            if self.sending.failure is not None:
                raise self.sending.failure
            for error in ended:
                if error is not None:
                    return error
            if self.sending.left:
                return None
            now = self._clock.monotonic()
            if any(event is not None for event in events) or self.sending.sent_bytes != sent_before or not waits:
                alive_at, sent_before = now, self.sending.sent_bytes
            if now - alive_at > (ANSWER_SECONDS if self.progress else HELLO_SECONDS):
                raise CollectorUnreachable(f"the collector has not answered for {now - alive_at:.0f} s")
        return None

    def _listen(self, call: grpc.CallIterator[upload_pb2.UploadResponse]) -> None:
        try:
            for answer in call:
                self._events.put(answer)
        except grpc.RpcError as error:
            self._events.put(error)
        else:
            self._events.put(cast(grpc.RpcError, call))  # the collector ended the call without an error

    def _next_events(self, seconds: float) -> list[_Event]:
        events: list[_Event] = []
        try:
            events.append(self._events.get(timeout=seconds))
            while len(events) < _MOST_EVENTS:
                events.append(self._events.get_nowait())
        except queue.Empty:
            pass
        return events

    def _handle(self, event: _Event) -> grpc.RpcError | None:
        """-> the call's end, when this is it."""
        if event is None:
            return None
        if not isinstance(event, upload_pb2.UploadResponse):
            return event
        self.progress = True
        kind = event.WhichOneof("kind")
        if kind == "marks":
            self._take_marks(event.marks)
        elif kind == "durable":
            self._take_durable(event.durable)
        elif kind == "loaded":
            lane = self._lane(event.loaded.stream)
            if lane is not None:
                self._verdicts.loaded(lane, event.loaded.epoch, event.loaded.seq)
        elif kind == "refused":
            lane = self._lane(event.refused.stream)
            if lane is not None and lane.refused((event.refused.epoch, event.refused.seq)):
                self._verdicts.refused(lane, event.refused, self.sending.schemas)
        return None

    def _take_marks(self, marks: upload_pb2.Marks) -> None:
        if marks.window_bytes:
            self.sending.window = min(self._window, marks.window_bytes)
        for mark in marks.marks:
            lane = self._lane(mark.stream)
            if lane is not None and lane.standing is Standing.ASKING:
                lane.in_flight.clear()
                durable = self._verdicts.marked(lane, mark, self._reader)
                if durable is not None and durable != (0, 0):
                    self._durable[lane.id] = durable

    def _take_durable(self, durable: upload_pb2.Durable) -> None:
        lane = self._lane(durable.stream)
        sent = lane.answered_through((durable.epoch, durable.seq)) if lane is not None else None
        if lane is None or sent is None:
            return
        if sent.chain != durable.chain:
            self._verdicts.confirmed_another(lane, sent)
            return
        self._durable[lane.id] = sent.at
        self._verdicts.durable(lane, sent)

    def _delete_durable(self) -> None:
        if not self._durable:
            return
        try:
            self._outbox.delete(self._durable)
        except OutboxFull:  # the log needs room to write that room was made; again in a moment
            return
        self._durable.clear()

    def _look_after_lanes(self) -> None:
        """Lanes of streams that came up, that got batches, that were reset, and those whose time to ask again has come."""
        for stream in self._outbox.arrivals():
            known = next((lane for lane in self._lanes.values() if lane.id == stream), None)
            if known is not None:
                known.idle = False
            else:
                self._looked_at = 0.0
        now = self._clock.monotonic()
        self._take_up_again(now)
        waits = any(lane.standing in _STANDING_STILL for lane in self._lanes.values())
        if not self._looked_at or (waits and now - self._looked_at > 1.0):
            self._looked_at = now
            self._look_at_records()
        for lane in self._lanes.values():
            if lane.standing is Standing.PAUSING and 0 < lane.patient_until <= now:
                self._ask(lane)
            elif lane.standing is Standing.PAUSING and not lane.in_flight:
                if lane.verdict is not None:
                    lane.standing, lane.ask_at = Standing.HELD, now + HELD_SECONDS
                elif now >= lane.ask_at:
                    self._ask(lane)
            elif lane.standing is Standing.HELD and now >= lane.ask_at:
                self._ask(lane)
            elif lane.standing is Standing.UNAPPROVED:
                self._look_at_unapproved(lane)

    def _take_up_again(self, now: float) -> None:
        """Lanes that somebody wants to be sent again from the collector's mark."""
        for lane in [self._lanes[name] for name in self._again if name in self._lanes]:
            if lane.standing is Standing.OPEN:
                lane.standing, lane.verdict = Standing.PAUSING, None
            lane.ask_at = min(lane.ask_at, now) if lane.ask_at else now
            lane.patient_until = now + AGAIN_SECONDS
        self._again.clear()

    def _look_at_records(self) -> None:
        for record in self._reader.streams():
            lane = self._lanes.get(record.name)
            if lane is None:
                self._ask(self._add_lane(record.id, record.name, record.epoch))
            elif lane.epoch != record.epoch:
                lane.epoch = record.epoch
                if lane.standing in _STANDING_STILL:
                    self._ask(lane)

    def _look_at_unapproved(self, lane: Lane) -> None:
        refused = lane.unapproved
        assert refused is not None
        generation = self._permission.generation
        if generation != refused.generation:
            why = self._permission.why_not(lane.name, refused.fingerprint, self._reader)
            if not why:
                self._ask(lane)
                return
            lane.unapproved = Unapproved(refused.fingerprint, why, generation)
        self._verdicts.unapproved(lane, self._reader)

    def _ask(self, lane: Lane) -> None:
        lane.standing, lane.verdict, lane.patient_until = Standing.ASKING, None, 0.0
        self.sending.ask(lane.name)

    def _add_lane(self, number: int, name: StreamName, epoch: int) -> Lane:
        lane = Lane(number, name, self._priority_of(name), epoch, Backoff(*_LANE_BACKOFF))
        self._lanes[name] = lane
        return lane

    def _lane(self, stream: batch_pb2.Stream) -> Lane | None:
        try:
            return self._lanes.get(StreamName.from_proto(stream))
        except WireError:
            return None
