"""Payloads: an Arrow IPC record batch message without its schema, compressed.

From `ARROW_FROM_ROWS` rows Arrow's own zstd level 1 per buffer (the fastest both ways, measured); below that one
zstandard frame, with a trained dictionary where there is one. Every size is checked against the header before anything
of that size is allocated: a frame's content size, and the uncompressed length that precedes each Arrow buffer.

Format: Arrow columnar format 1.5, "Encapsulated message format" and "Message compression"; RFC 8878.
"""

from __future__ import annotations

import struct
from typing import Final

import pyarrow as pa
import zstandard

from forebay_wire import limits
from forebay_wire.errors import LimitExceeded, Malformed, SchemaMismatch
from forebay_wire.v1 import batch_pb2

ARROW_FROM_ROWS: Final = 1_000
_ARROW_ZSTD: Final = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))
_END_OF_STREAM_BYTES: Final = 8
_FRAME_LEVEL: Final = 1


def encode(
    batch: pa.RecordBatch, dictionary: zstandard.ZstdCompressionDict | None = None
) -> tuple[batch_pb2.Codec.ValueType, bytes, int]:
    """-> codec, payload, size of the Arrow message before compression in bytes."""
    if batch.num_rows >= ARROW_FROM_ROWS:
        payload = _message(batch)
        return batch_pb2.CODEC_ARROW_ZSTD, payload.to_pybytes(), _uncompressed_bytes(memoryview(payload))
    message = batch.serialize()
    # with a checksum where there is a dictionary: an altered one must not decompress into other rows
    compressor = zstandard.ZstdCompressor(
        level=_FRAME_LEVEL, dict_data=dictionary, write_checksum=dictionary is not None
    )
    codec = batch_pb2.CODEC_FRAME_ZSTD if dictionary is None else batch_pb2.CODEC_FRAME_ZSTD_DICTIONARY
    return codec, compressor.compress(message), message.size


def _message(batch: pa.RecordBatch) -> pa.Buffer:
    """The compressed record batch message: what an IPC stream holds between its schema and its end."""
    sink = pa.BufferOutputStream()
    schema_bytes = batch.schema.serialize().size
    with pa.ipc.new_stream(sink, batch.schema, options=_ARROW_ZSTD) as writer:
        writer.write_batch(batch)
    stream = sink.getvalue()
    return stream.slice(schema_bytes, stream.size - schema_bytes - _END_OF_STREAM_BYTES)


def decode(
    payload: bytes,
    codec: int,
    schema: pa.Schema,
    *,
    rows: int,
    raw_bytes: int,
    dictionary: zstandard.ZstdCompressionDict | None = None,
) -> pa.RecordBatch:
    """Opens a payload; `rows` and `raw_bytes` are what its header says.

    Raises:
        LimitExceeded: the header says more than the limits allow, or the payload holds more than its header says.
        Malformed: the payload is not an Arrow record batch, or not of the codec named.
        SchemaMismatch: it does not fit the schema, or has another number of rows than its header says.
    """
    if raw_bytes > limits.MAX_RAW_BYTES or rows > limits.MAX_ROWS or len(payload) > limits.MAX_PAYLOAD_BYTES:
        raise LimitExceeded(
            f"batch of {rows} rows and {raw_bytes} bytes; limits {limits.MAX_ROWS}, {limits.MAX_RAW_BYTES}"
        )
    if codec == batch_pb2.CODEC_ARROW_ZSTD:
        message: bytes | memoryview = payload
        if _uncompressed_bytes(memoryview(payload)) > raw_bytes:
            raise LimitExceeded(f"payload decompresses to more than the {raw_bytes} bytes that its header says")
    elif codec in (batch_pb2.CODEC_FRAME_ZSTD, batch_pb2.CODEC_FRAME_ZSTD_DICTIONARY):
        message = _decompress_frame(payload, raw_bytes, dictionary)
    else:
        raise Malformed(f"codec {codec} is not known")
    try:
        batch = pa.ipc.read_record_batch(pa.py_buffer(message), schema)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SchemaMismatch(f"payload does not open with its schema: {error}") from error
    if batch.num_rows != rows:
        raise SchemaMismatch(f"payload has {batch.num_rows} rows, its header says {rows}")
    return batch


def _decompress_frame(payload: bytes, raw_bytes: int, dictionary: zstandard.ZstdCompressionDict | None) -> bytes:
    try:
        size = zstandard.frame_content_size(payload)
        if size != raw_bytes:
            raise LimitExceeded(f"frame of {size} bytes, its header says {raw_bytes}")
        return zstandard.ZstdDecompressor(dict_data=dictionary).decompress(payload, max_output_size=raw_bytes)
    except zstandard.ZstdError as error:
        raise Malformed(f"payload is not a zstandard frame: {error}") from error


def _uncompressed_bytes(message: memoryview) -> int:
    """What an Arrow record batch message takes after decompression: its metadata and every buffer, padded to 8.

    Walks the flatbuffer by hand (Message.fbs: Message.header is field 2; RecordBatch.buffers is field 2,
    RecordBatch.compression field 3; a Buffer is two int64), since pyarrow tells only after it has allocated.
    """
    try:
        marker, metadata_bytes = struct.unpack_from("<Ii", message, 0)
        if marker != 0xFFFFFFFF or not 0 < metadata_bytes <= len(message) - 8:
            raise Malformed("payload is not an encapsulated Arrow message")
        metadata = message[8 : 8 + metadata_bytes]
        body = message[8 + metadata_bytes :]
        root = struct.unpack_from("<I", metadata, 0)[0]
        header_at = _field(metadata, root, 2)
        if header_at is None:
            raise Malformed("Arrow message has no header")
        record_batch = header_at + struct.unpack_from("<I", metadata, header_at)[0]
        buffers_at = _field(metadata, record_batch, 2)
        compressed = _field(metadata, record_batch, 3) is not None
        total: int = 8 + metadata_bytes
        if buffers_at is None:
            return total
        vector = buffers_at + struct.unpack_from("<I", metadata, buffers_at)[0]
        count = struct.unpack_from("<I", metadata, vector)[0]
        if count > 4 * limits.MAX_COLUMNS:
            raise LimitExceeded(f"Arrow message of {count} buffers")
        for number in range(count):
            offset, length = struct.unpack_from("<qq", metadata, vector + 4 + 16 * number)
            if offset < 0 or length < 0 or offset + length > len(body):
                raise Malformed("Arrow message: a buffer lies outside its body")
            size = length
            if compressed and length >= 8:
                size = struct.unpack_from("<q", body, offset)[0]
                size = length - 8 if size == -1 else size
                if size < 0:
                    raise Malformed("Arrow message: a buffer of negative size")
            total += (size + 7) & ~7
        return total
    except struct.error as error:
        raise Malformed(f"Arrow message is cut short: {error}") from error


def _field(buffer: memoryview, table: int, number: int) -> int | None:
    """Where field `number` of the flatbuffer table at `table` stands; None when it is not set."""
    vtable: int = table - struct.unpack_from("<i", buffer, table)[0]
    if vtable < 0 or 4 + 2 * number >= struct.unpack_from("<H", buffer, vtable)[0]:
        return None
    offset: int = struct.unpack_from("<H", buffer, vtable + 4 + 2 * number)[0]
    return table + offset if offset else None
