"""The sealed batch: a header and a payload, sealed once by the agent, carried and archived byte for byte.

    Batch    = header (serialised BatchHeader) + payload
    chain    = H(header without its chain || payload digest || previous chain)

`chain` is the header's last field: its tag, its length and its 32 bytes are the header's last 35 bytes, and everything
before them is "the header without its chain". Nobody serialises a header again in order to check it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import zstandard
from google.protobuf.message import DecodeError

from forebay_wire import codec, limits
from forebay_wire.columns import COMMITTED_AT, OP, POSITION, Op
from forebay_wire.digest import SIZE, DigestAlgorithm
from forebay_wire.errors import ChainMismatch, DigestMismatch, LimitExceeded, Malformed, SchemaMismatch
from forebay_wire.key_range import KeyRange
from forebay_wire.schema import TableSchema
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2

_CHAIN_TAG: Final = bytes([(31 << 3 | 2) & 0x7F | 0x80, (31 << 3 | 2) >> 7, SIZE])
_CHAIN_BYTES: Final = len(_CHAIN_TAG) + SIZE


@dataclass(frozen=True)
class SealedBatch:
    """One sealed batch as bytes. `fields` parses the header when first asked."""

    header: bytes
    payload: bytes

    @cached_property
    def fields(self) -> batch_pb2.BatchHeader:
        return parse_header(self.header)

    @property
    def stream(self) -> StreamName:
        return StreamName.from_proto(self.fields.stream)

    @property
    def epoch(self) -> int:
        return self.fields.epoch

    @property
    def seq(self) -> int:
        return self.fields.seq

    @property
    def chain(self) -> bytes:
        return self.fields.chain

    @property
    def size(self) -> int:
        """Bytes that it takes on disk and on the wire."""
        return len(self.header) + len(self.payload)


@dataclass(frozen=True, slots=True)
class Link:
    """Where the next batch of a stream attaches: its epoch and seq, and the chain digest of the batch before it."""

    epoch: int
    seq: int
    previous_chain: bytes

    def after(self, batch: SealedBatch) -> Link:
        return Link(batch.epoch, batch.seq + 1, batch.chain)


def seal(
    stream: StreamName,
    link: Link,
    schema: TableSchema,
    rows: pa.RecordBatch,
    *,
    captured_at_us: int,
    ends_transaction: bool = True,
    snapshot: int = 0,
    last_of_snapshot: bool = False,
    first_seq: int = 0,
    key_range: KeyRange | None = None,
    algorithm: DigestAlgorithm = DigestAlgorithm.SM3,
    dictionary: zstandard.ZstdCompressionDict | None = None,
) -> SealedBatch:
    """Seals `rows` (of `schema.arrow`; may be empty only to end a snapshot) as the batch at `link`.

    `snapshot`: number of the snapshot that the batch is part of, 0 for none. `key_range`: what part of the table it is of,
    None for all of it; then `first_seq` is needed, see `SnapshotPart` in batch.proto.

    Raises:
        SchemaMismatch: the rows are not of the schema.
        ValueError: `key_range` without a snapshot or a `first_seq` from 1 to the batch's own seq.
        LimitExceeded: the batch is over a limit of `forebay_wire.limits`.
    """
    if not rows.schema.equals(schema.arrow):
        raise SchemaMismatch(f"{stream}: rows are not of the schema that they are sealed with")
    if rows.num_rows > limits.MAX_ROWS:
        raise LimitExceeded(f"{stream}: {rows.num_rows} rows in a batch; at most {limits.MAX_ROWS}")
    if key_range is not None and not (snapshot and 1 <= first_seq <= link.seq):
        raise ValueError(f"{stream}: a key range needs a snapshot and a first_seq from 1 to {link.seq}")
    codec_used, payload, raw_bytes = codec.encode(rows, dictionary)
    if raw_bytes > limits.MAX_RAW_BYTES or len(payload) > limits.MAX_PAYLOAD_BYTES:
        raise LimitExceeded(f"{stream}: batch of {raw_bytes} bytes; at most {limits.MAX_RAW_BYTES}")
    committed_first, committed_last = _span(rows.column(COMMITTED_AT))
    positions = rows.column(POSITION)
    header = batch_pb2.BatchHeader(
        stream=stream.to_proto(),
        epoch=link.epoch,
        seq=link.seq,
        schema_fingerprint=schema.fingerprint,
        rows=rows.num_rows,
        ops=_count_ops(rows.column(OP)),
        first_position=positions[0].as_py() if rows.num_rows else "",
        last_position=positions[-1].as_py() if rows.num_rows else "",
        first_committed_at_us=committed_first,
        last_committed_at_us=committed_last,
        captured_at_us=captured_at_us,
        codec=codec_used,
        raw_bytes=raw_bytes,
        payload_bytes=len(payload),
        ends_transaction=ends_transaction,
        digest_algorithm=algorithm.proto,
        payload_digest=algorithm(payload),
        previous_chain=link.previous_chain,
    )
    if snapshot:
        header.snapshot_part.snapshot = snapshot
        header.snapshot_part.last = last_of_snapshot
        header.snapshot_part.first_seq = first_seq
        if key_range is not None:
            header.snapshot_part.range.CopyFrom(key_range.to_proto())
    if dictionary is not None and codec_used == batch_pb2.CODEC_FRAME_ZSTD_DICTIONARY:
        header.dictionary_id = str(dictionary.dict_id())
    unchained = header.SerializeToString(deterministic=True)
    chain = algorithm(unchained, header.payload_digest, link.previous_chain)
    serialized = unchained + _CHAIN_TAG + chain
    if len(serialized) > limits.MAX_HEADER_BYTES:
        raise LimitExceeded(f"{stream}: header of {len(serialized)} bytes; at most {limits.MAX_HEADER_BYTES}")
    return SealedBatch(serialized, payload)


def parse_header(header: bytes) -> batch_pb2.BatchHeader:
    """Reads a header and checks it against the limits, its names and its own shape; not its digests.

    Raises: Malformed, LimitExceeded.
    """
    if len(header) > limits.MAX_HEADER_BYTES:
        raise LimitExceeded(f"header of {len(header)} bytes; at most {limits.MAX_HEADER_BYTES}")
    if header[-_CHAIN_BYTES:-SIZE] != _CHAIN_TAG:
        raise Malformed("header does not end in its chain digest")
    try:
        fields = batch_pb2.BatchHeader.FromString(header)
    except DecodeError as error:
        raise Malformed(f"header cannot be read: {error}") from error
    StreamName.from_proto(fields.stream)
    digests = (fields.schema_fingerprint, fields.payload_digest, fields.previous_chain, fields.chain)
    if any(len(digest) != SIZE for digest in digests) or fields.chain != header[-SIZE:]:
        raise Malformed("header: a digest is not 32 bytes")
    if fields.epoch < 1 or fields.seq < 1:
        raise Malformed("header: epoch and seq start at 1")
    _check_snapshot_part(fields)
    sizes = (
        (fields.rows, limits.MAX_ROWS),
        (fields.raw_bytes, limits.MAX_RAW_BYTES),
        (fields.payload_bytes, limits.MAX_PAYLOAD_BYTES),
        (len(fields.first_position.encode()), limits.MAX_POSITION_BYTES),
        (len(fields.last_position.encode()), limits.MAX_POSITION_BYTES),
    )
    for size, limit in sizes:
        if size > limit:
            raise LimitExceeded(f"header: {size} is over the limit of {limit}")
    return fields


def _check_snapshot_part(fields: batch_pb2.BatchHeader) -> None:
    part = fields.snapshot_part
    if part.first_seq > fields.seq:
        raise Malformed("header: a snapshot begins after the batch that is part of it")
    if part.HasField("range"):
        if not (part.snapshot and part.first_seq):
            raise Malformed("header: a key range without its snapshot's number or first seq")
        KeyRange.from_proto(part.range)


def check_digests(batch: SealedBatch) -> None:
    """Raises DigestMismatch when payload or header are not the bytes that were sealed."""
    fields = batch.fields
    algorithm = DigestAlgorithm.from_proto(fields.digest_algorithm)
    if len(batch.payload) != fields.payload_bytes or algorithm(batch.payload) != fields.payload_digest:
        raise DigestMismatch(f"{batch.stream} epoch {batch.epoch} seq {batch.seq}: payload does not match its digest")
    _check_chain(batch.header, fields)


def check_header(header: bytes) -> batch_pb2.BatchHeader:
    """As `parse_header`, and checks the header's chain digest: without the payload, no more can be said.

    Raises: Malformed, LimitExceeded, DigestMismatch.
    """
    fields = parse_header(header)
    _check_chain(header, fields)
    return fields


def _check_chain(header: bytes, fields: batch_pb2.BatchHeader) -> None:
    algorithm = DigestAlgorithm.from_proto(fields.digest_algorithm)
    unchained = memoryview(header)[:-_CHAIN_BYTES]
    if algorithm(unchained, fields.payload_digest, fields.previous_chain) != fields.chain:
        stream = StreamName.from_proto(fields.stream)
        raise DigestMismatch(f"{stream} epoch {fields.epoch} seq {fields.seq}: header does not match its chain digest")


def check_link(batch: SealedBatch, previous_chain: bytes) -> None:
    """Raises ChainMismatch when the batch was not sealed after the batch with this chain digest."""
    if batch.fields.previous_chain != previous_chain:
        raise ChainMismatch(
            f"{batch.stream} epoch {batch.epoch} seq {batch.seq}: does not follow the batch held before it"
        )


def open_batch(
    batch: SealedBatch, schema: TableSchema, dictionary: zstandard.ZstdCompressionDict | None = None
) -> pa.RecordBatch:
    """The rows of a batch whose digests were checked.

    Raises:
        SchemaMismatch: `schema` is not the one that the header names, or the payload does not fit it.
        LimitExceeded, Malformed: see `codec.decode`.
    """
    fields = batch.fields
    if fields.schema_fingerprint != schema.fingerprint:
        raise SchemaMismatch(f"{batch.stream} seq {batch.seq}: opened with another schema than it was sealed with")
    return codec.decode(
        batch.payload, fields.codec, schema.arrow, rows=fields.rows, raw_bytes=fields.raw_bytes, dictionary=dictionary
    )


def _span(committed_at: pa.Array) -> tuple[int, int]:
    span = pc.min_max(committed_at.cast(pa.int64()))
    return span["min"].as_py() or 0, span["max"].as_py() or 0


def _count_ops(ops: pa.Array) -> batch_pb2.OpCounts:
    counted = {entry["values"]: entry["counts"] for entry in pc.value_counts(ops).to_pylist()}
    unknown: Sequence[str] = [op for op in counted if op not in set(Op)]
    if unknown:
        raise SchemaMismatch(f"_op holds {unknown[0]!r}; it is one of {', '.join(Op)}")
    return batch_pb2.OpCounts(
        snapshot_reads=counted.get(Op.READ, 0),
        inserts=counted.get(Op.INSERT, 0),
        updates=counted.get(Op.UPDATE, 0),
        deletes=counted.get(Op.DELETE, 0),
    )
