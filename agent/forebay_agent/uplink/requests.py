"""Requests: the messages that carry streams and batches up, on a line (`sending.py`) as on a disk (`forebay_agent.ferry`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from forebay_agent.errors import OutboxDamaged
from forebay_agent.outbox import OutboxReader
from forebay_wire import PROTOCOL, limits
from forebay_wire.errors import WireError
from forebay_wire.schema import TableSchema
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2, upload_pb2


def hello(names: Iterable[StreamName]) -> upload_pb2.UploadHello:
    return upload_pb2.UploadHello(streams=[name.to_proto() for name in names], protocol=PROTOCOL)


def schema(reader: OutboxReader, name: StreamName, fields: batch_pb2.BatchHeader) -> upload_pb2.UploadRequest:
    """What opens a batch, which must have come before it. Raises OutboxDamaged when it is not there as it was put."""
    serialized = reader.schema(fields.schema_fingerprint)
    of_batch = f"the schema of epoch {fields.epoch} seq {fields.seq}"
    if serialized is None:
        raise OutboxDamaged(f"{name}: the outbox lacks {of_batch}")
    try:
        TableSchema.parse(serialized, fields.schema_fingerprint)
    except WireError as error:
        raise OutboxDamaged(f"{name}: the outbox is damaged: {of_batch} was altered ({error.code})") from error
    message = batch_pb2.Schema(stream=name.to_proto(), fingerprint=fields.schema_fingerprint, arrow_schema=serialized)
    return upload_pb2.UploadRequest(schema=message)


def start(batch: SealedBatch) -> upload_pb2.UploadRequest:
    return upload_pb2.UploadRequest(batch_start=upload_pb2.BatchStart(header=batch.header))


def parts(batch: SealedBatch) -> Iterator[upload_pb2.UploadRequest]:
    """The payload, `limits.PART_BYTES` in each."""
    for at in range(0, len(batch.payload), limits.PART_BYTES):
        part = upload_pb2.BatchPart(data=batch.payload[at : at + limits.PART_BYTES])
        yield upload_pb2.UploadRequest(batch_part=part)
