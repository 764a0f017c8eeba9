"""What counts as a canary: nothing of a department's can go out under its name."""

from __future__ import annotations

import pyarrow as pa
import pytest

from forebay_wire import canary
from forebay_wire.schema import TableSchema, column
from forebay_wire.stream import StreamName

STREAM = canary.stream_of("scjg", "civil")


def test_a_canary_is_one_after_its_schema_went_over_the_wire() -> None:
    came = TableSchema.parse(canary.SCHEMA.serialized, canary.SCHEMA.fingerprint)

    assert canary.is_canary(STREAM, came)
    assert StreamName.parse("scjg/civil/forebay.canary") == STREAM


@pytest.mark.parametrize(
    "schema",
    [
        TableSchema.of([*canary.SCHEMA.columns, column("citizen_id", pa.string(), "text")], ["id"]),
        TableSchema.of(canary.SCHEMA.columns[:2], ["id"]),
        TableSchema.of(canary.SCHEMA.columns, []),
        TableSchema.of([column("id", pa.string(), "text", mask="name"), *canary.SCHEMA.columns[1:]], canary.SCHEMA.key),
        TableSchema.of([column("id", pa.binary(), "text"), *canary.SCHEMA.columns[1:]], canary.SCHEMA.key),
    ],
    ids=["one column more", "one column less", "no key", "a mask", "another type"],
)
def test_no_other_table_passes_for_a_canary(schema: TableSchema) -> None:
    assert not canary.is_canary(STREAM, schema)


def test_no_other_stream_carries_canaries() -> None:
    assert not canary.is_canary(StreamName("scjg", "civil", "public.people"), canary.SCHEMA)
    assert not canary.is_canary(StreamName("scjg", "civil", "forebay.canaries"), canary.SCHEMA)
