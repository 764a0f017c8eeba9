"""Answers: what goes back on one connection. Acks of one stream that wait are one ack: the newest says it all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from forebay_collector.ledger import StreamRecord
from forebay_collector.receive.refusal import Refusal
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2, upload_pb2

MOST_WAITING: Final = 1_000
"""Answers that cannot be merged; when so many wait, nothing more is read from the agent."""


class Answers:
    """put: called when there is something to send."""

    __slots__ = ("_in_order", "_loaded", "_newest", "_put")

    def __init__(self, put: Callable[[], None]) -> None:
        self._put = put
        self._in_order: list[upload_pb2.UploadResponse] = []
        self._newest: dict[tuple[str, StreamName], upload_pb2.UploadResponse] = {}
        self._loaded: dict[StreamName, tuple[int, int]] = {}  # what the agent was told, or will be

    def marks(self, marks: list[StreamRecord], window: int) -> None:
        self._loaded.update((mark.name, mark.loaded) for mark in marks)
        answer = upload_pb2.Marks(marks=[mark_of(mark) for mark in marks], window_bytes=window)
        self._say(upload_pb2.UploadResponse(marks=answer))

    def refused(
        self, stream: batch_pb2.Stream, epoch: int, seq: int, refusal: Refusal, mark: StreamRecord | None
    ) -> None:
        answer = upload_pb2.Refused(stream=stream, epoch=epoch, seq=seq, code=refusal.code, reason=refusal.reason)
        if mark is not None:
            answer.mark.CopyFrom(mark_of(mark))
        self._say(upload_pb2.UploadResponse(refused=answer))

    def durable(self, stream: StreamName, batch: SealedBatch) -> None:
        waiting = self._newest.get(("durable", stream))
        at = (batch.epoch, batch.seq)
        if waiting is None or (waiting.durable.epoch, waiting.durable.seq) < at:
            answer = upload_pb2.Durable(stream=stream.to_proto(), epoch=at[0], seq=at[1], chain=batch.chain)
            self._newest["durable", stream] = upload_pb2.UploadResponse(durable=answer)
            self._put()

    def loaded(self, stream: StreamName, epoch: int, seq: int) -> None:
        if self._loaded.get(stream, (0, 0)) >= (epoch, seq):
            return
        self._loaded[stream] = (epoch, seq)
        answer = upload_pb2.Loaded(stream=stream.to_proto(), epoch=epoch, seq=seq)
        self._newest["loaded", stream] = upload_pb2.UploadResponse(loaded=answer)
        self._put()

    def take(self) -> upload_pb2.UploadResponse | None:
        """The next answer to send; None: there is none."""
        if self._in_order:
            return self._in_order.pop(0)
        return self._newest.pop(next(iter(self._newest))) if self._newest else None

    @property
    def too_many(self) -> bool:
        return len(self._in_order) >= MOST_WAITING

    def _say(self, answer: upload_pb2.UploadResponse) -> None:
        self._in_order.append(answer)
        self._put()


def mark_of(record: StreamRecord) -> upload_pb2.Mark:
    return upload_pb2.Mark(
        stream=record.name.to_proto(),
        epoch=record.epoch,
        durable_seq=record.durable_seq,
        durable_chain=record.durable_chain,
        loaded_epoch=record.loaded_epoch,
        loaded_seq=record.loaded_seq,
    )
