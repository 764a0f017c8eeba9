"""One simulated agent: its own certificate, one connection, the control call and the upload call on it.

It says what the real agent says, in the same order: hello, proposals, heartbeats with what changed; streams, marks, schemas,
batches in parts. It has no database, no outbox and no disk: batches are sealed when they are due.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from bench.fleet import tables
from forebay_agent.channel import OPTIONS
from forebay_wire import PROTOCOL, limits
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2, control_pb2_grpc, upload_pb2, upload_pb2_grpc

HEARTBEAT_S: Final = 15.0
_MIB: Final = 1 << 20


@dataclass(slots=True)
class Seen:
    """What all agents of a process saw. Latencies in seconds, from sending to the acknowledgement."""

    acks: list[float] = field(default_factory=list)
    heartbeats: list[float] = field(default_factory=list)
    acked: list[tuple[str, int, int, str]] = field(default_factory=list)
    """stream, epoch, seq, chain: called durable by the collector"""
    loaded: dict[str, tuple[int, int]] = field(default_factory=dict)
    sent: int = 0
    refused: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM."""

    authority: bytes
    certificate: bytes
    key: bytes


class SimulatedAgent:
    """number: which of the fleet. `come_in` first; then `beat` and `send` as often as they are due."""

    def __init__(self, number: int, address: str, own: Certificate, seed: int, seen: Seen) -> None:
        self.number = number
        self.name = tables.agent_name(number)
        self.chains = [tables.Chain(stream, seed) for stream in tables.streams_of(number)]
        self._by_name = {chain.stream: chain for chain in self.chains}
        self._seen = seen
        self._approved = asyncio.Event()
        self._marked = asyncio.Event()
        self._welcomed = asyncio.Event()
        self._beats = 0
        self._told: tuple[int, ...] = ()
        self._beaten: dict[int, float] = {}
        self._waiting: dict[StreamName, deque[tuple[SealedBatch, float]]] = {one.stream: deque() for one in self.chains}
        self._schemas: set[StreamName] = set()
        self._sending = asyncio.Lock()
        credentials = grpc.ssl_channel_credentials(own.authority, own.key, own.certificate)
        self._channel: Any = grpc.aio.secure_channel(address, credentials, options=OPTIONS)
        self._control: Any = None
        self._upload: Any = None
        self._reading: list[asyncio.Task[None]] = []

    async def come_in(self) -> None:
        """Both calls: hello, proposals, a first heartbeat; streams and their marks."""
        self._control = control_pb2_grpc.ControlServiceStub(self._channel).Control()
        hello = control_pb2.AgentHello(
            agent=self.name,
            department=self.chains[0].stream.department,
            version="0.1.0",
            hostname=self.name,
            instance=f"instance of {self.name}",
            protocol=PROTOCOL,
        )
        await self._control.write(control_pb2.ControlRequest(hello=hello))
        self._reading.append(asyncio.create_task(self._read_control()))
        async with asyncio.timeout(60):
            await self._welcomed.wait()
        proposals = [tables.proposal(chain.stream) for chain in self.chains]
        complete = control_pb2.Proposals(proposals=proposals, complete=True)
        await self._control.write(control_pb2.ControlRequest(proposals=complete))
        await self.beat()
        self._upload = upload_pb2_grpc.UploadServiceStub(self._channel).Upload()
        streams = [chain.stream.to_proto() for chain in self.chains]
        opening = upload_pb2.UploadHello(streams=streams, protocol=PROTOCOL)
        await self._upload.write(upload_pb2.UploadRequest(hello=opening))
        self._reading.append(asyncio.create_task(self._read_upload()))
        async with asyncio.timeout(60):
            await self._marked.wait()

    async def approved(self) -> None:
        """Waits until all its streams may leave."""
        await self._approved.wait()

    async def beat(self) -> None:
        """A heartbeat: health and outbox, and the streams that changed since the last."""
        self._beats += 1
        told = tuple(chain.link.seq for chain in self.chains)
        changed = [
            _state(chain)
            for chain, before in zip(self.chains, self._told or [0] * len(told), strict=True)
            if chain.link.seq != before
        ]
        beat = control_pb2.Heartbeat(
            number=self._beats,
            sent_at_us=time.time_ns() // 1_000,
            health=control_pb2.Health(
                cpu_percent=3.0,
                load_1m=0.2,
                memory_total_bytes=4 << 30,
                memory_available_bytes=3 << 30,
                disk_total_bytes=100 << 30,
                disk_free_bytes=80 << 30,
                uptime_seconds=86_400 + self._beats,
                agent_rss_bytes=120 << 20,
                agent_cpu_seconds=self._beats / 10,
            ),
            outbox=control_pb2.OutboxState(cap_bytes=10 << 30, disk_free_bytes=80 << 30),
            streams=changed,
            since=self._beats - 1,
            certificate_expires_at_us=(time.time_ns() // 1_000) + 300 * 86_400_000_000,
        )
        self._told = told
        self._beaten[self._beats] = time.perf_counter()
        await self._control.write(control_pb2.ControlRequest(heartbeat=beat))

    async def send(self, chain: tables.Chain) -> None:
        """The stream's next batch, in parts; the stream's schema before its first."""
        batch = chain.next()
        async with self._sending:  # messages of one batch follow each other
            if chain.stream not in self._schemas:
                self._schemas.add(chain.stream)
                message = tables.schema_message(chain.stream)
                await self._upload.write(upload_pb2.UploadRequest(schema=message))
            self._seen.sent += 1
            self._waiting[chain.stream].append((batch, time.perf_counter()))
            start = upload_pb2.BatchStart(header=batch.header)
            await self._upload.write(upload_pb2.UploadRequest(batch_start=start))
            for first in range(0, len(batch.payload), limits.PART_BYTES):
                part = upload_pb2.BatchPart(data=batch.payload[first : first + limits.PART_BYTES])
                await self._upload.write(upload_pb2.UploadRequest(batch_part=part))

    @property
    def unanswered(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    async def leave(self) -> None:
        for task in self._reading:
            task.cancel()
        await self._channel.close()

    async def _read_control(self) -> None:
        try:
            async for answer in self._control:
                kind = answer.WhichOneof("kind")
                if kind == "heartbeat_ack":
                    self._seen.heartbeats.append(time.perf_counter() - self._beaten.pop(answer.heartbeat_ack.number))
                elif kind == "welcome":
                    self._welcomed.set()
                elif kind == "approvals":
                    told = {StreamName.from_proto(each.stream) for each in answer.approvals.approvals}
                    if answer.approvals.automatic or told >= self._by_name.keys():
                        self._approved.set()
            self._seen.broken.append(f"{self.name}: the collector ended its control call")
        except grpc.RpcError as error:
            self._seen.broken.append(f"{self.name}: control: {_words(error)}")

    async def _read_upload(self) -> None:
        try:
            async for answer in self._upload:
                kind = answer.WhichOneof("kind")
                if kind == "durable":
                    self._durable(answer.durable)
                elif kind == "loaded":
                    stream = StreamName.from_proto(answer.loaded.stream)
                    self._seen.loaded[str(stream)] = (answer.loaded.epoch, answer.loaded.seq)
                elif kind == "refused":
                    refused = answer.refused
                    self._seen.refused.append(f"{self.name}: {refused.epoch}/{refused.seq}: {refused.reason}")
                elif kind == "marks":
                    self._marked.set()
            self._seen.broken.append(f"{self.name}: the collector ended its upload call")
        except grpc.RpcError as error:
            self._seen.broken.append(f"{self.name}: upload: {_words(error)}")

    def _durable(self, durable: upload_pb2.Durable) -> None:
        """Everything of the stream up to there; the last must be the very batch that was sent."""
        now = time.perf_counter()
        stream = StreamName.from_proto(durable.stream)
        waiting = self._waiting[stream]
        while waiting and (waiting[0][0].epoch, waiting[0][0].seq) <= (durable.epoch, durable.seq):
            batch, sent_at = waiting.popleft()
            self._seen.acks.append(now - sent_at)
            chain = durable.chain if batch.seq == durable.seq else batch.chain
            self._seen.acked.append((str(stream), batch.epoch, batch.seq, chain.hex()))


def _state(chain: tables.Chain) -> control_pb2.StreamState:
    sealed = chain.link.seq - 1
    return control_pb2.StreamState(
        stream=chain.stream.to_proto(),
        epoch=1,
        mode="log",
        guarantee="every committed change",
        state="streaming",
        position=f"{sealed * tables.ROWS:012d}",
        sealed_seq=sealed,
        durable_seq=max(0, sealed - 1),
        rows_captured=sealed * tables.ROWS,
        last_change_at_us=time.time_ns() // 1_000,
        last_poll_at_us=time.time_ns() // 1_000,
    )


def _words(error: Any) -> str:
    return f"{error.code().name}: {error.details()}"
