"""Sealed batches of made-up streams, chained as an agent would chain them."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pyarrow as pa

from forebay_wire.digest import GENESIS
from forebay_wire.schema import TableSchema, column
from forebay_wire.seal import Link, SealedBatch, parse_header, seal
from forebay_wire.stream import StreamName

DEPARTMENT = "市监局"
STREAM = StreamName(DEPARTMENT, "登记库", "public.企业")
SCHEMA = TableSchema.of([column("id", pa.int64(), "bigint"), column("text", pa.string(), "text")], ["id"])
FIRST = Link(1, 1, GENESIS)


def rows(
    first: int, count: int, text_bytes: int = 8, *, seed: int = 0, committed_at_us: int | None = None
) -> pa.RecordBatch:
    noise = random.Random(seed + first)
    return pa.record_batch(
        [
            pa.array(range(first, first + count)),
            pa.array([noise.randbytes(text_bytes // 2).hex() for _ in range(count)]),
            pa.array(["c"] * count),
            pa.array([f"{number:012d}" for number in range(first, first + count)]),
            pa.array([committed_at_us] * count, pa.timestamp("us", "UTC")),
            pa.array([None] * count, SCHEMA.arrow.field("_absent").type),
        ],
        schema=SCHEMA.arrow,
    )


def chained(
    count: int,
    stream: StreamName = STREAM,
    link: Link = FIRST,
    *,
    rows_each: int = 3,
    text_bytes: int = 8,
    seed: int = 0,
) -> list[SealedBatch]:
    """`count` batches in a row, the first at `link`."""
    return list(_chained(count, stream, link, rows_each, text_bytes, seed))


def _chained(
    count: int, stream: StreamName, link: Link, rows_each: int, text_bytes: int, seed: int
) -> Iterator[SealedBatch]:
    for _ in range(count):
        content = rows(link.seq * rows_each, rows_each, text_bytes, seed=seed)
        batch = seal(stream, link, SCHEMA, content, captured_at_us=1_700_000_000_000_000)
        link = link.after(batch)
        yield batch


def flipped(batch: SealedBatch, at: int = -1) -> SealedBatch:
    """The same batch with one bit of its payload turned."""
    payload = bytearray(batch.payload)
    payload[at] ^= 1
    return SealedBatch(batch.header, bytes(payload))


def declaring(batch: SealedBatch, payload_bytes: int) -> bytes:
    """The batch's header, saying another size of payload."""
    fields = parse_header(batch.header)
    chain = fields.chain
    fields.payload_bytes = payload_bytes
    fields.ClearField("chain")
    return fields.SerializeToString(deterministic=True) + b"\xfa\x01\x20" + chain
