"""One agent's upload, as small as it can be: a collector holds a thousand of them that say nothing most of the time.

    read    messages -> assembled batches (own department, limits, window, memory, schema known and approved), digests started
    place   in the order read: digests' outcome -> the lane's verdict -> committer, or ack, or refusal
    send    acks and refusals, the newest ack per stream

The call's handler reads. There is a task that places, and one that sends, while there is something to place or to send, and
no longer; what waits for them is bounded. Whether the agent may stay, and whether its batch goes on, is looked at for all
connections together (`upload.py`).

A refused batch holds its stream on this connection, and no other: see `refusals.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import grpc

from forebay_collector.errors import CollectorError
from forebay_collector.identity import alarms
from forebay_collector.identity.admission import host_of_peer, refuse
from forebay_collector.identity.names import Identity
from forebay_collector.ledger import Arrival, Ledger
from forebay_collector.receive.answers import Answers
from forebay_collector.receive.approved import Approved
from forebay_collector.receive.assembly import Assembly, Started, addressed
from forebay_collector.receive.check import DigestChecks
from forebay_collector.receive.commit import Committer, Pending
from forebay_collector.receive.keeping import SchemaKeeper
from forebay_collector.receive.lanes import Accepted, Held, Lanes, Next, OnItsWay
from forebay_collector.receive.loaded import LoadedMarks
from forebay_collector.receive.refusal import CHAIN, LIMIT, MALFORMED, NOT_YOURS, UNAVAILABLE, Refusal
from forebay_collector.receive.refusals import Refusals
from forebay_collector.receive.room import Room
from forebay_collector.receive.schemas import Openers
from forebay_wire import PROTOCOL, limits
from forebay_wire.errors import WireError
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import upload_pb2

STALL_S: Final = 300.0
"""How long the next part of a batch may take to come: 1 MiB over the slowest line that is worth having."""
_MOST_CHECKING: Final = 1_000

Context: TypeAlias = grpc.aio.ServicerContext[upload_pb2.UploadRequest, upload_pb2.UploadResponse]
_ENDED: Final = (grpc.aio.BaseError, asyncio.InvalidStateError)
"""what gRPC raises in whoever ends a call, or writes to one that has ended"""


@dataclass(frozen=True, slots=True)
class Reception:
    """What all connections share."""

    ledger: Ledger
    lanes: Lanes
    checks: DigestChecks
    committer: Committer
    loaded: LoadedMarks
    approved: Approved
    keeper: SchemaKeeper
    room: Room
    window: int


@dataclass(frozen=True, slots=True)
class _Checking:
    """A batch that is all here. wrong: what its digests say, when that is known."""

    stream: StreamName
    batch: SealedBatch
    wrong: asyncio.Future[Refusal | None]


class Connection:
    """`run` is the call's handler; the other public methods are called beside it, from the same event loop."""

    __slots__ = (
        "_answers",
        "_assembly",
        "_checking",
        "_committing",
        "_context",
        "_failure",
        "_handler",
        "_loop",
        "_openers",
        "_over",
        "_placing",
        "_read_at",
        "_reading",
        "_reception",
        "_refusals",
        "_sending",
        "_settled",
        "_streams",
        "_unanswered",
        "identity",
    )

    def __init__(self, reception: Reception, identity: Identity, context: Context) -> None:
        self.identity = identity
        self._reception = reception
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._handler: asyncio.Task[Any] | None = None
        self._placing: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._settled: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        self._reading = True
        self._over = False
        self._answers = Answers(self._send_soon)
        self._assembly = Assembly()
        self._openers = Openers(
            reception.lanes, reception.approved, reception.keeper, identity.agent, identity.department
        )
        self._streams: set[StreamName] = set()
        self._checking: list[_Checking] = []
        self._read_at = self._loop.time()
        self._unanswered = 0  # payload bytes
        self._committing = 0  # batches whose outcome is awaited
        self._refusals = Refusals(reception.ledger, reception.lanes, identity, self._answers, host_of_peer(context))

    async def run(self) -> None:
        """Until the agent has sent its last and all of it is answered, or the call ends."""
        self._handler = asyncio.current_task()
        try:
            await self._read()
            await self._all_placed()
            await self._all_sent()
        except asyncio.CancelledError:
            if self._failure is None:
                raise
            raise self._failure from None
        finally:
            self._over = True
            await _end(self._placing, self._sending)
            self._leave()

    def stop_reading(self) -> None:
        """What came in whole is still placed and answered, then the call ends."""
        if self._reading and self._handler is not None:
            self._reading = False
            self._handler.cancel()

    def stalls(self, now: float) -> bool:
        """Whether a batch is begun and not gone on with: it takes memory from all the others."""
        return self._assembly.started is not None and now - self._read_at >= STALL_S

    async def refuse(self, error: CollectorError, ledger: Ledger) -> None:
        """Ends the call from outside its handler: the agent may not go on. Never raises."""
        with suppress(*_ENDED):
            await refuse(self._context, error, ledger, admitted=True)

    async def give_up(self) -> None:
        """Ends the call of which `stalls` is true. Never raises."""
        with suppress(*_ENDED):
            reason = f"no part of a batch for {STALL_S:.0f} s"
            await self._context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, reason)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What ends the placing or the sending with an error ends the call."""
        if task.cancelled() or (error := task.exception()) is None or self._over:
            return
        self._failure = self._failure or error
        if self._handler is not None:
            self._handler.cancel()

    def _leave(self) -> None:
        for stream in self._streams:
            self._reception.loaded.unsubscribe(stream, self._hear_loaded)
        if self._assembly.started is not None:
            self._give_back(self._assembly.started.fields.payload_bytes)
        for item in self._checking:
            self._give_back(len(item.batch.payload))
        self._checking.clear()

    # read

    async def _read(self) -> None:
        """Until the agent has sent its last, or is not listened to any more."""
        try:
            await self._read_all()
        except asyncio.CancelledError:
            # ours is one cancellation; gRPC's, when the call has ended, is another
            if self._reading or self._failure is not None or (self._handler and self._handler.uncancel()):
                raise
        self._reading = False
        self._cut_short()

    async def _read_all(self) -> None:
        message = await self._context.read()
        if message is grpc.aio.EOF or message.WhichOneof("kind") != "hello":
            await self._turn_away(grpc.StatusCode.INVALID_ARGUMENT, "an upload opens with UploadHello")
        if message.hello.protocol != PROTOCOL:
            reason = f"protocol {message.hello.protocol}; this collector speaks {PROTOCOL}"
            await self._turn_away(grpc.StatusCode.FAILED_PRECONDITION, reason)
        while message is not grpc.aio.EOF:
            await self._take(message)
            if self._answers.too_many:
                await self._all_sent()
            message = await self._context.read()
            self._read_at = self._loop.time()

    async def _turn_away(self, status: grpc.StatusCode, reason: str) -> None:
        """Ends a call that does not keep to the protocol; the audit has it."""
        who, detail = self.identity.agent, {"department": self.identity.department}
        note, peer = self._reception.ledger.refusals.note, host_of_peer(self._context)
        await asyncio.to_thread(note, who, alarms.REFUSED, who, reason, detail, peer=peer, same=reason)
        await self._context.abort(status, reason)

    async def _take(self, message: upload_pb2.UploadRequest) -> None:
        match message.WhichOneof("kind"):
            case "batch_part":
                await self._take_part(message.batch_part.data)
            case "batch_start":
                await self._take_start(message.batch_start.header)
            case "schema":
                await self._openers.schema(message.schema)
            case "dictionary":
                await self._openers.dictionary(message.dictionary)
            case "hello":
                await self._take_hello(message.hello)
            case "more":
                await self._take_hello(message.more)
            case _:
                await self._turn_away(grpc.StatusCode.INVALID_ARGUMENT, "a message of no kind that is known")

    async def _take_hello(self, hello: upload_pb2.UploadHello) -> None:
        wanted: list[StreamName] = []
        for name in hello.streams:
            try:
                stream = StreamName.from_proto(name)
            except WireError as error:
                self._refusals.send(name, (0, 0), Refusal.of(error))
                continue
            if refusal := self._announce(stream):
                self._refusals.send(name, (0, 0), refusal)
                continue
            self._refusals.forget(stream)
            wanted.append(stream)
        try:
            marks = await self._reception.lanes.marks(wanted)
        except CollectorError as error:
            await self._context.abort(grpc.StatusCode.UNAVAILABLE, f"{error.code}: {error}")
            raise
        self._answers.marks(marks, self._reception.window)

    def _announce(self, stream: StreamName) -> Refusal | None:
        """Makes the stream one of this connection's, if it may be."""
        if stream in self._streams:
            return None
        if stream.department != self.identity.department:
            return Refusal(NOT_YOURS, f"stream {stream} is not of department {self.identity.department}")
        if len(self._streams) >= limits.MAX_STREAMS:
            return Refusal(LIMIT, f"more than {limits.MAX_STREAMS} streams")
        self._streams.add(stream)
        self._reception.loaded.subscribe(stream, self._hear_loaded)
        return None

    async def _take_start(self, header: bytes) -> None:
        self._cut_short()
        started = self._assembly.start(header)
        if isinstance(started, Refusal):
            name, at = addressed(header)
            self._refusals.send(name, at, started)
            return
        if self._refusals.is_behind(started.stream, started.at):
            self._refusals.send_behind(started.stream, started.at)
            return
        refusal = self._announce(started.stream) or self._over_window(started) or await self._unopenable(started)
        if refusal is not None:
            self._refusals.send(started.fields.stream, started.at, refusal)
            return
        size = started.fields.payload_bytes
        await self._reception.room.take(size)
        self._unanswered += size
        self._assembly.take(started)

    async def _take_part(self, data: bytes) -> None:
        started = self._assembly.started
        outcome = self._assembly.part(data)
        if outcome is None or started is None:
            return
        if isinstance(outcome, Refusal):
            self._assembly.give_up()
            self._give_back(started.fields.payload_bytes)
            self._refusals.send(started.fields.stream, started.at, outcome)
            return
        self._checking.append(_Checking(started.stream, outcome, self._reception.checks.start(outcome)))
        if self._placing is None:
            self._placing = self._start(self._place())
        elif len(self._checking) >= _MOST_CHECKING:
            await asyncio.wait([self._placing])

    def _cut_short(self) -> None:
        """A batch whose parts did not all come is refused."""
        started = self._assembly.started
        if started is not None:
            self._assembly.give_up()
            self._give_back(started.fields.payload_bytes)
            self._refusals.send(started.fields.stream, started.at, Refusal(MALFORMED, "parts of the batch are missing"))

    def _over_window(self, started: Started) -> Refusal | None:
        size = started.fields.payload_bytes
        if self._unanswered and self._unanswered + size > self._reception.window:
            return Refusal(LIMIT, f"more than the window of {self._reception.window} bytes is unacknowledged")
        return None

    async def _unopenable(self, started: Started) -> Refusal | None:
        try:
            return await self._openers.missing(started.stream, started.fields)
        except CollectorError as error:
            return Refusal(UNAVAILABLE, str(error))

    # place

    async def _place(self) -> None:
        while self._checking:
            item = self._checking[0]  # it stays there until it is placed: `_leave` gives its room back
            try:
                await self._place_one(item.stream, item.batch, await item.wrong)
            except CollectorError as error:
                self._answer(item.stream, item.batch, Refusal(UNAVAILABLE, str(error)))
            del self._checking[0]
        self._placing = None

    async def _all_placed(self) -> None:
        """Waits until everything that was read has its outcome."""
        while self._placing is not None:
            await asyncio.wait([self._placing])
        while self._committing:
            self._settled = self._loop.create_future()
            await self._settled

    async def _place_one(self, stream: StreamName, batch: SealedBatch, wrong: Refusal | None) -> None:
        if self._refusals.is_behind(stream, (batch.epoch, batch.seq)):
            self._give_back(len(batch.payload))
            self._refusals.send_behind(stream, (batch.epoch, batch.seq))
            return
        if wrong is not None:
            self._answer(stream, batch, wrong)
            return
        lane = await self._reception.lanes.ready(stream)
        match lane.judge(batch):
            case Next():
                accepted = lane.accept(batch)
                self._await_outcome(stream, accepted)
                self._reception.committer.submit(Pending(Arrival(self.identity.agent, stream, batch), accepted.outcome))
            case OnItsWay(accepted):
                self._await_outcome(stream, accepted)
            case Held():
                same = await self._reception.lanes.is_held(batch)
                differs = Refusal(CHAIN, f"epoch {batch.epoch} seq {batch.seq} differs from the batch that is held")
                self._answer(stream, batch, None if same else differs)
            case Refusal() as refusal:
                self._answer(stream, batch, refusal)

    def _await_outcome(self, stream: StreamName, accepted: Accepted) -> None:
        self._committing += 1

        def settled(outcome: asyncio.Future[Exception | None]) -> None:
            error = outcome.result()
            self._committing -= 1
            if self._settled is not None and not self._settled.done():
                self._settled.set_result(None)
            self._answer(stream, accepted.batch, None if error is None else Refusal(UNAVAILABLE, str(error)))

        accepted.outcome.add_done_callback(settled)

    # answer

    def _answer(self, stream: StreamName, batch: SealedBatch, refusal: Refusal | None) -> None:
        """The batch is settled on this connection: durable, or refused."""
        self._give_back(len(batch.payload))
        if refusal is None:
            self._answers.durable(stream, batch)
        else:
            self._refusals.send(batch.fields.stream, (batch.epoch, batch.seq), refusal)

    def _give_back(self, size: int) -> None:
        self._unanswered -= size
        self._reception.room.give_back(size)

    # send

    def _send_soon(self) -> None:
        if self._sending is None and not self._over:
            self._sending = self._start(self._send())

    async def _send(self) -> None:
        while (answer := self._answers.take()) is not None:
            await self._context.write(answer)
        self._sending = None

    async def _all_sent(self) -> None:
        while self._sending is not None:
            await asyncio.wait([self._sending])

    def _hear_loaded(self, stream: StreamName, epoch: int, seq: int) -> None:
        self._loop.call_soon_threadsafe(self._answers.loaded, stream, epoch, seq)


async def _end(*tasks: asyncio.Task[None] | None) -> None:
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
