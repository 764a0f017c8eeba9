"""A sender that says exactly what a test wants: the upload protocol by hand, over real TLS."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from forebay_wire import PROTOCOL, limits
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import upload_pb2, upload_pb2_grpc
from tests.receiving.batches import SCHEMA, STREAM

Request = upload_pb2.UploadRequest


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM."""

    authority: bytes
    certificate: bytes
    key: bytes

    def channel(self, address: str) -> Any:
        options = [("grpc.ssl_target_name_override", "forebay-collector"), ("grpc.use_local_subchannel_pool", 1)]
        credentials = grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)
        return grpc.secure_channel(address, credentials, options=options)


class Sender:
    """One upload call. `answers` are what came back, acks included, in order."""

    def __init__(self, address: str, credentials: Credentials) -> None:
        self._channel = credentials.channel(address)
        self._requests: queue.Queue[Request | None] = queue.Queue()
        self._answers: queue.Queue[upload_pb2.UploadResponse | Exception | None] = queue.Queue()
        self._call = upload_pb2_grpc.UploadServiceStub(self._channel).Upload(self._outgoing())
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def hello(self, *streams: StreamName, protocol: int = PROTOCOL) -> upload_pb2.Marks:
        self.put(Request(hello=_hello(streams or (STREAM,), protocol)))
        return self.next("marks").marks

    def more(self, *streams: StreamName) -> upload_pb2.Marks:
        self.put(Request(more=_hello(streams, PROTOCOL)))
        return self.next("marks").marks

    def schema(self, stream: StreamName = STREAM) -> None:
        self.put(Request(schema=schema_of(stream)))

    def send(self, *batches: SealedBatch) -> None:
        for batch in batches:
            self.start(batch.header)
            for begin in range(0, len(batch.payload), limits.PART_BYTES):
                self.part(batch.payload[begin : begin + limits.PART_BYTES])

    def start(self, header: bytes) -> None:
        self.put(Request(batch_start=upload_pb2.BatchStart(header=header)))

    def part(self, data: bytes) -> None:
        self.put(Request(batch_part=upload_pb2.BatchPart(data=data)))

    def put(self, request: Request) -> None:
        self._requests.put(request)

    def next(self, *kinds: str, timeout: float = 15) -> upload_pb2.UploadResponse:
        """The next answer of these kinds (of any kind when none is named); others are passed over."""
        deadline = time.monotonic() + timeout
        while True:
            answer = self._answers.get(timeout=max(0.01, deadline - time.monotonic()))
            if answer is None:
                raise EOFError("the collector ended the call")
            if isinstance(answer, Exception):
                raise answer
            if not kinds or answer.WhichOneof("kind") in kinds:
                return answer

    def refused(self) -> upload_pb2.Refused:
        """The next answer, which is a refusal."""
        answer = self.next("refused", "durable")
        assert answer.WhichOneof("kind") == "refused", answer
        return answer.refused

    def durable(self, seq: int, stream: StreamName = STREAM) -> upload_pb2.Durable:
        """Waits until the stream is durable up to `seq`; nothing may be refused on the way."""
        while True:
            answer = self.next("durable", "refused")
            assert answer.WhichOneof("kind") == "durable", answer
            if StreamName.from_proto(answer.durable.stream) == stream and answer.durable.seq >= seq:
                return answer.durable

    def failure(self) -> Any:
        """The status that the call ends with."""
        try:
            while True:
                self.next()
        except grpc.RpcError as error:
            return error

    def finish(self) -> None:
        """Says that nothing more comes, and waits until the collector has ended the call."""
        self._requests.put(None)
        self._reading.join(15)
        assert not self._reading.is_alive()

    def cut(self) -> None:
        """Ends the call and the connection at once."""
        self._call.cancel()
        self._requests.put(None)
        self._reading.join(15)
        self._channel.close()

    def _outgoing(self) -> Iterator[Request]:
        while (request := self._requests.get()) is not None:
            yield request

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._answers.put(answer)
            self._answers.put(None)
        except grpc.RpcError as error:
            self._answers.put(error)


def schema_of(stream: StreamName) -> Any:
    from forebay_wire.v1 import batch_pb2

    return batch_pb2.Schema(stream=stream.to_proto(), fingerprint=SCHEMA.fingerprint, arrow_schema=SCHEMA.serialized)


def _hello(streams: Iterable[StreamName], protocol: int) -> upload_pb2.UploadHello:
    return upload_pb2.UploadHello(streams=[stream.to_proto() for stream in streams], protocol=protocol)
