"""A proxy that sees messages: it ends the agent's TLS with a certificate of the fleet's own authority, and comes in at the
collector with the agent's. `python -m tests.faults.message_proxy FOLDER PORT COLLECTOR FAULT SEED`, in the hub.

Every method passes through; of `Upload` messages are lost, doubled, reordered or altered, as FAULT says:

    lost-acks    no Durable and no Loaded arrives
    doubled      some batches go up twice, some answers come down twice
    reordered    some batches wait until the next one has passed
    altered      one bit of some payloads is another one

Each strike prints a line. TLS is why this is no plain proxy: what is altered inside TLS breaks the connection, no more.
FOLDER holds `identity/` (the agent's), `server.pem` and `server.key` (of the proxy).
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from forebay_wire import limits
from forebay_wire.v1 import batch_pb2, upload_pb2

_UPLOAD = "/forebay.v1.UploadService/Upload"
_NAME = "forebay-collector"
_SIZES = [
    ("grpc.max_send_message_length", limits.MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", limits.MAX_MESSAGE_BYTES),
]
Messages = AsyncIterator[bytes]


class Meddler:
    """What a fault does to the messages of one upload."""

    def __init__(self, fault: str, draw: random.Random) -> None:
        self._fault = fault
        self._draw = draw

    async def up(self, messages: Messages) -> Messages:
        """Batches are told apart by their start: what comes before the next one belongs to them."""
        held: list[bytes] = []
        batch: list[bytes] = []
        missing = 0
        async for message in messages:
            request = upload_pb2.UploadRequest.FromString(message)
            kind = request.WhichOneof("kind")
            if kind == "batch_start":
                batch, missing = [message], _payload_bytes(request.batch_start.header)
                continue
            if kind != "batch_part" or not batch:
                yield message
                continue
            missing -= len(request.batch_part.data)
            batch.append(self._altered(request, message))
            if missing > 0:
                continue
            whole, batch = batch, []
            if not held and self._fault == "reordered" and self._draw.random() < 0.5:
                held = whole
                continue
            for each in whole:
                yield each
            if held:
                for each in held:
                    yield each
                held = []
                _tell("a batch after the next one")
            if self._fault == "doubled" and self._draw.random() < 0.5:
                for each in whole:
                    yield each
                _tell("a batch twice")

    async def down(self, messages: Messages) -> Messages:
        async for message in messages:
            kind = upload_pb2.UploadResponse.FromString(message).WhichOneof("kind")
            if self._fault == "lost-acks" and kind in ("durable", "loaded"):
                _tell(f"a {kind} lost")
                continue
            yield message
            if self._fault == "doubled" and kind in ("durable", "loaded") and self._draw.random() < 0.5:
                yield message
                _tell(f"a {kind} twice")

    def _altered(self, request: upload_pb2.UploadRequest, message: bytes) -> bytes:
        if self._fault != "altered" or self._draw.random() > 0.5:
            return message
        data = bytearray(request.batch_part.data)
        data[self._draw.randrange(len(data))] ^= 1 << self._draw.randrange(8)
        request.batch_part.data = bytes(data)
        _tell("one bit of a payload")
        return request.SerializeToString()


class Passing(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """Every method as a stream of bytes both ways, which any method is."""

    def __init__(self, channel: grpc.aio.Channel, fault: str, draw: random.Random) -> None:
        self._channel = channel
        self._fault = fault
        self._draw = draw

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def passed(requests: Messages, context: grpc.aio.ServicerContext[Any, Any]) -> Messages:
            meddler = Meddler(self._fault if details.method == _UPLOAD else "", self._draw)
            call = self._channel.stream_stream(details.method)(meddler.up(requests))
            try:
                async for answer in meddler.down(call):
                    yield answer
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "")
            finally:
                call.cancel()

        return grpc.stream_stream_rpc_method_handler(passed)


def _payload_bytes(header: bytes) -> int:
    return int(batch_pb2.BatchHeader.FromString(header).payload_bytes)


def _tell(what: str) -> None:
    print(what, flush=True)


async def serve(folder: Path, port: int, collector: str, fault: str, seed: int) -> None:
    identity = folder / "identity"
    authority = (identity / "authority.pem").read_bytes()
    own = grpc.ssl_channel_credentials(
        authority, (identity / "agent.key").read_bytes(), (identity / "agent.pem").read_bytes()
    )
    named = [("grpc.ssl_target_name_override", _NAME), ("grpc.default_authority", _NAME)]
    pair = ((folder / "server.key").read_bytes(), (folder / "server.pem").read_bytes())
    credentials = grpc.ssl_server_credentials([pair], authority, require_client_auth=True)
    async with grpc.aio.secure_channel(collector, own, options=[*_SIZES, *named]) as channel:
        server = grpc.aio.server(options=_SIZES)
        server.add_generic_rpc_handlers([Passing(channel, fault, random.Random(seed))])
        server.add_secure_port(f"0.0.0.0:{port}", credentials)
        await server.start()
        _tell("ready")
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])))
