"""Promises of the sealed batch: same bytes, evident tampering, limits before allocation."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay_wire import codec, limits
from forebay_wire.columns import CHANGE_FIELDS
from forebay_wire.digest import GENESIS, DigestAlgorithm
from forebay_wire.errors import (
    ChainMismatch,
    DigestMismatch,
    LimitExceeded,
    Malformed,
    SchemaMismatch,
    WireError,
)
from forebay_wire.key_range import KeyRange
from forebay_wire.schema import TableSchema, column
from forebay_wire.seal import Link, SealedBatch, check_digests, check_link, open_batch, parse_header, seal
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2

STREAM = StreamName("市监局", "登记库", "public.企业")
COLUMNS = [
    column("id", pa.int64(), "bigint"),
    column("名称", pa.string(), "varchar(40)"),
    column("capital", pa.decimal128(38, 10), "numeric(38,10)"),
    column("photo", pa.binary(), "blob"),
    column("at", pa.timestamp("us"), "datetime(6)"),
]
SCHEMA = TableSchema.of(COLUMNS, ["id"])
MOMENT = datetime(2026, 11, 23, 1, 2, 3, 456789)


def rows(count: int, op: str = "c") -> pa.RecordBatch:
    fields = dict(zip(SCHEMA.arrow.names, SCHEMA.arrow, strict=True))
    values = {
        "id": list(range(count)),
        "名称": [None if number % 7 == 0 else f"𠮷{number}" for number in range(count)],
        "capital": [Decimal(number).scaleb(-10) for number in range(count)],
        "photo": [bytes(range(256))] * count,
        "at": [MOMENT] * count,
        "_op": [op] * count,
        "_position": [f"p{number}" for number in range(count)],
        "_committed_at": [datetime(2026, 1, 1, tzinfo=UTC)] * count,
        "_absent": [None] * count,
    }
    return pa.RecordBatch.from_arrays(
        [pa.array(values[name], field.type) for name, field in fields.items()], schema=SCHEMA.arrow
    )


def sealed(count: int = 3, link: Link | None = None) -> SealedBatch:
    return seal(STREAM, link or Link(1, 1, GENESIS), SCHEMA, rows(count), captured_at_us=7)


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 5_000])
@pytest.mark.parametrize("algorithm", list(DigestAlgorithm))
def test_what_was_sealed_comes_out_again(count: int, algorithm: DigestAlgorithm) -> None:
    batch = seal(STREAM, Link(1, 1, GENESIS), SCHEMA, rows(count), captured_at_us=7, algorithm=algorithm)
    arrived = SealedBatch(batch.header, batch.payload)
    check_digests(arrived)
    assert open_batch(arrived, SCHEMA).equals(rows(count))
    assert (arrived.stream, arrived.epoch, arrived.seq) == (STREAM, 1, 1)
    assert arrived.fields.ops.inserts == arrived.fields.rows == count


@pytest.mark.parametrize("count", [5, 2_000])
def test_one_flipped_bit_anywhere_is_evident(count: int) -> None:
    batch = sealed(count)
    places = [*range(len(batch.header)), *range(0, len(batch.payload), max(1, len(batch.payload) // 97))]
    for number, place in enumerate(places):
        in_header = number < len(batch.header)
        damaged = bytearray(batch.header if in_header else batch.payload)
        damaged[place] ^= 1 << (number % 8)
        altered = SealedBatch(bytes(damaged), batch.payload) if in_header else SealedBatch(batch.header, bytes(damaged))
        with pytest.raises(WireError):
            check_digests(altered)


def test_a_batch_follows_only_the_one_before_it() -> None:
    first = sealed()
    second = sealed(link=Link(1, 1, GENESIS).after(first))
    check_link(first, GENESIS)
    check_link(second, first.chain)
    with pytest.raises(ChainMismatch):
        check_link(second, GENESIS)


def test_the_chain_stands_at_the_end_of_the_header_whatever_it_holds() -> None:
    batch = sealed()
    assert batch.header.endswith(batch.chain)
    with pytest.raises(Malformed):
        parse_header(batch.header + b"\x08\x01")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_noise_as_a_header_is_refused_not_crashed_on(noise: bytes) -> None:
    with pytest.raises(WireError):
        parse_header(noise)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600), st.sampled_from([1, 2, 3, 9]))
def test_noise_as_a_payload_is_refused_not_crashed_on(noise: bytes, kind: int) -> None:
    with pytest.raises(WireError):
        codec.decode(noise, kind, SCHEMA.arrow, rows=1, raw_bytes=10_000)


def test_a_payload_that_swells_beyond_its_header_is_refused_before_it_is_opened() -> None:
    batch = sealed(2_000)
    with pytest.raises(LimitExceeded):
        codec.decode(batch.payload, batch.fields.codec, SCHEMA.arrow, rows=2_000, raw_bytes=batch.fields.raw_bytes - 64)
    small = sealed(3)
    with pytest.raises(LimitExceeded):
        codec.decode(small.payload, small.fields.codec, SCHEMA.arrow, rows=3, raw_bytes=small.fields.raw_bytes + 1)


def test_limits_hold_at_both_ends() -> None:
    with pytest.raises(LimitExceeded):
        TableSchema.of([column(f"c{n}", pa.int32(), "int") for n in range(limits.MAX_COLUMNS)], [])
    with pytest.raises(LimitExceeded):
        TableSchema.of([column("长" * limits.MAX_NAME_BYTES, pa.int32(), "int")], [])
    with pytest.raises(LimitExceeded):
        StreamName("d" * (limits.MAX_NAME_BYTES + 1), "s", "t")
    header = sealed().fields
    header.payload_bytes = limits.MAX_PAYLOAD_BYTES + 1
    with pytest.raises(LimitExceeded):
        parse_header(_again(header))


def _again(fields: batch_pb2.BatchHeader) -> bytes:
    chain = fields.chain
    fields.ClearField("chain")
    unchained = fields.SerializeToString(deterministic=True)
    fields.chain = chain
    return unchained + b"\xfa\x01\x20" + chain


def test_rows_of_another_schema_are_not_sealed() -> None:
    other = TableSchema.of([column("id", pa.int32(), "int")], ["id"])
    with pytest.raises(SchemaMismatch):
        seal(STREAM, Link(1, 1, GENESIS), other, rows(1), captured_at_us=7)
    with pytest.raises(SchemaMismatch):
        open_batch(sealed(), other)


def test_an_unknown_op_is_not_sealed() -> None:
    with pytest.raises(SchemaMismatch):
        seal(STREAM, Link(1, 1, GENESIS), SCHEMA, rows(1, op="x"), captured_at_us=7)


def test_a_schema_is_itself_again_and_its_fingerprint_guards_it() -> None:
    again = TableSchema.parse(SCHEMA.serialized, SCHEMA.fingerprint)
    assert again.arrow.equals(SCHEMA.arrow, check_metadata=True)
    assert again.key == ("id",)
    assert [field.name for field in again.columns] == [field.name for field in COLUMNS]
    assert again.arrow.names[-len(CHANGE_FIELDS) :] == [field.name for field in CHANGE_FIELDS]
    with pytest.raises(DigestMismatch):
        TableSchema.parse(SCHEMA.serialized, GENESIS)
    with pytest.raises(Malformed):
        TableSchema.of(COLUMNS, ["no such column"])


@pytest.mark.parametrize("text", ["", "a", "a/b", "/b/c", "a//c", "a/b/", "a\n/b/c"])
def test_a_malformed_stream_name_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        StreamName.parse(text)


def test_a_stream_name_reads_back_what_it_prints() -> None:
    assert StreamName.parse(str(STREAM)) == STREAM
    assert (STREAM.schema, STREAM.name) == ("public", "企业")


def ranged(key_range: KeyRange | None, *, seq: int = 5, first_seq: int = 3, snapshot: int = 2) -> SealedBatch:
    return seal(
        STREAM,
        Link(1, seq, GENESIS),
        SCHEMA,
        rows(2, "r"),
        captured_at_us=7,
        snapshot=snapshot,
        last_of_snapshot=True,
        first_seq=first_seq,
        key_range=key_range,
    )


@pytest.mark.parametrize(
    "bounds", [KeyRange("-5", "2026-11-23 01:02:03.456789"), KeyRange("0", None), KeyRange(None, ""), KeyRange()]
)
def test_a_ranged_snapshot_travels_with_its_bounds_and_they_are_chained(bounds: KeyRange) -> None:
    batch = ranged(bounds)
    check_digests(batch)
    part = parse_header(batch.header).snapshot_part
    assert part.HasField("range")
    assert (part.snapshot, part.last, part.first_seq, KeyRange.from_proto(part.range)) == (2, True, 3, bounds)
    assert batch.chain != ranged(KeyRange("1", "1")).chain


def test_a_snapshot_of_the_whole_table_has_no_range_and_its_header_stays_as_it_was() -> None:
    batch = seal(STREAM, Link(1, 5, GENESIS), SCHEMA, rows(2, "r"), captured_at_us=7, snapshot=2, last_of_snapshot=True)
    part = parse_header(batch.header).snapshot_part
    assert not part.HasField("range")
    assert part.SerializeToString() == b"\x08\x02\x10\x01"


@pytest.mark.parametrize(("snapshot", "first_seq"), [(0, 3), (2, 0), (2, 6)])
def test_a_range_without_its_snapshot_or_its_beginning_is_neither_sealed_nor_read(
    snapshot: int, first_seq: int
) -> None:
    with pytest.raises(ValueError, match="range"):
        ranged(KeyRange("1", "2"), snapshot=snapshot, first_seq=first_seq)
    fields = parse_header(ranged(KeyRange("1", "2")).header)
    fields.snapshot_part.snapshot = snapshot
    fields.snapshot_part.first_seq = first_seq
    with pytest.raises(Malformed, match="header"):
        parse_header(_again(fields))


def test_bounds_are_limited_at_both_ends_and_say_whether_they_are_there() -> None:
    with pytest.raises(LimitExceeded):
        KeyRange("9" * (limits.MAX_BOUND_BYTES + 1))
    fields = parse_header(ranged(KeyRange("1", "2")).header)
    fields.snapshot_part.range.through = "9" * (limits.MAX_BOUND_BYTES + 1)
    with pytest.raises(LimitExceeded):
        parse_header(_again(fields))
    fields.snapshot_part.range.through = "2"
    fields.snapshot_part.range.has_through = False
    with pytest.raises(Malformed, match="does not have"):
        parse_header(_again(fields))
