"""One agent's upload: reads, checks, places, answers; each in its own task, in order, with bounded queues between.

    read    messages -> assembled batches (own department, limits, window, memory, schema known and approved), digests started
    place   in the order read: digests' outcome -> the lane's verdict -> committer, or ack, or refusal
    send    acks and refusals, the newest ack per stream

A refused batch holds its stream on this connection, and no other: see `refusals.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import grpc

from forebay_collector.errors import CollectorError
from forebay_collector.identity import alarms
from forebay_collector.identity.admission import host_of_peer, keep_admitted
from forebay_collector.ledger import AgentRecord, Arrival, Ledger
from forebay_collector.receive.answers import Answers
from forebay_collector.receive.approved import Approved
from forebay_collector.receive.assembly import Assembly, Started, addressed
from forebay_collector.receive.check import DigestChecks
from forebay_collector.receive.commit import Committer, Pending
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
_LOOK_S: Final = 5.0
_MOST_CHECKING: Final = 1_000


@dataclass(frozen=True, slots=True)
class Reception:
    """What all connections share."""

    ledger: Ledger
    lanes: Lanes
    checks: DigestChecks
    committer: Committer
    loaded: LoadedMarks
    approved: Approved
    room: Room
    window: int
    stopping: asyncio.Event


@dataclass(frozen=True, slots=True)
class _Checking:
    """A batch that is all here. wrong: what its digests say, when that is known."""

    stream: StreamName
    batch: SealedBatch
    wrong: asyncio.Future[Refusal | None]


class Connection:
    def __init__(
        self,
        reception: Reception,
        agent: AgentRecord,
        context: grpc.aio.ServicerContext[upload_pb2.UploadRequest, upload_pb2.UploadResponse],
    ) -> None:
        self._reception = reception
        self._agent = agent
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._answers = Answers()
        self._assembly = Assembly()
        self._openers = Openers(reception.ledger, reception.lanes, reception.approved, agent.name, agent.department)
        self._streams: set[StreamName] = set()
        self._checking: asyncio.Queue[_Checking | None] = asyncio.Queue(_MOST_CHECKING)
        self._read_at = self._loop.time()
        self._unanswered = 0  # payload bytes
        self._committing = 0  # batches whose outcome is awaited
        self._settled = asyncio.Event()
        peer = host_of_peer(context)
        self._refusals = Refusals(reception.ledger, reception.lanes, agent, self._answers, peer)

    async def run(self) -> None:
        """Until the agent has sent its last and all of it is answered, or the call ends."""
        work = asyncio.gather(self._read(), self._place())
        sending = asyncio.ensure_future(self._send())
        admitted = asyncio.ensure_future(keep_admitted(self._context, self._reception.ledger))
        flowing = asyncio.ensure_future(self._keep_flowing())
        tasks: list[asyncio.Future[Any]] = [work, sending, admitted, flowing]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        finally:
            await _end(*tasks)
            self._leave()

    def _leave(self) -> None:
        for stream in self._streams:
            self._reception.loaded.unsubscribe(stream, self._hear_loaded)
        if self._assembly.started is not None:
            self._give_back(self._assembly.started.fields.payload_bytes)
        while not self._checking.empty():
            if item := self._checking.get_nowait():
                self._give_back(len(item.batch.payload))

    # read

    async def _read(self) -> None:
        """Until the agent has sent its last, or the collector stops: what came in whole by then is still placed."""
        reading = asyncio.ensure_future(self._read_all())
        stopping = asyncio.ensure_future(self._reception.stopping.wait())
        try:
            await asyncio.wait([reading, stopping], return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                await reading
        finally:
            await _end(reading, stopping)
        self._cut_short()
        await self._checking.put(None)

    async def _read_all(self) -> None:
        message = await self._context.read()
        if message is grpc.aio.EOF or message.WhichOneof("kind") != "hello":
            await self._turn_away(grpc.StatusCode.INVALID_ARGUMENT, "an upload opens with UploadHello")
        if message.hello.protocol != PROTOCOL:
            reason = f"protocol {message.hello.protocol}; this collector speaks {PROTOCOL}"
            await self._turn_away(grpc.StatusCode.FAILED_PRECONDITION, reason)
        while message is not grpc.aio.EOF:
            await self._take(message)
            await self._answers.has_room()
            message = await self._context.read()
            self._read_at = self._loop.time()

    async def _turn_away(self, status: grpc.StatusCode, reason: str) -> None:
        """Ends a call that does not keep to the protocol; the audit has it."""
        who, detail = self._agent.name, {"department": self._agent.department}
        note, peer = self._reception.ledger.refusals.note, host_of_peer(self._context)
        await asyncio.to_thread(note, who, alarms.REFUSED, who, reason, detail, peer=peer, same=reason)
        await self._context.abort(status, reason)

    async def _keep_flowing(self) -> None:
        """Ends a call in which a batch is begun and not gone on with: it takes memory from all the others."""
        while self._assembly.started is None or self._loop.time() - self._read_at < STALL_S:
            await asyncio.sleep(_LOOK_S)
        await self._context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"no part of a batch for {STALL_S:.0f} s")

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
        if stream.department != self._agent.department:
            return Refusal(NOT_YOURS, f"stream {stream} is not of department {self._agent.department}")
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
        await self._checking.put(_Checking(started.stream, outcome, self._reception.checks.start(outcome)))

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
        while (item := await self._checking.get()) is not None:
            try:
                await self._place_one(item.stream, item.batch, await item.wrong)
            except CollectorError as error:
                self._answer(item.stream, item.batch, Refusal(UNAVAILABLE, str(error)))
        while self._committing:
            self._settled.clear()
            await self._settled.wait()
        await self._answers.all_sent()

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
                self._reception.committer.submit(Pending(Arrival(self._agent.name, stream, batch), accepted.outcome))
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
            self._settled.set()
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

    async def _send(self) -> None:
        while True:
            await self._context.write(await self._answers.take())

    def _hear_loaded(self, stream: StreamName, epoch: int, seq: int) -> None:
        self._loop.call_soon_threadsafe(self._answers.loaded, stream, epoch, seq)


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
