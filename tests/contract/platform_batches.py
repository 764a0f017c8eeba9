"""Batches for the platform suites, written as rows."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from forebay_collector.platform.contract import OpenedBatch, Platform
from forebay_wire.columns import ABSENT, COMMITTED_AT, OP, POSITION
from forebay_wire.key_range import KeyRange
from forebay_wire.schema import TableSchema, column
from forebay_wire.stream import StreamName

Row = tuple[str, dict[str, Any]] | tuple[str, dict[str, Any], list[str]]
STREAM = StreamName("市监局", "enterprise-db", "main.enterprise")


def schema(columns: dict[str, pa.DataType], key: Sequence[str] = ("id",)) -> TableSchema:
    return TableSchema.of([column(name, kind, f"source {kind}") for name, kind in columns.items()], key)


ENTERPRISE = schema({"id": pa.int64(), "name": pa.string(), "capital": pa.decimal128(18, 2)})


def batch(
    seq: int,
    rows: Sequence[Row],
    described: TableSchema = ENTERPRISE,
    *,
    epoch: int = 1,
    last: bool = False,
    snapshot: int = 0,
    within: KeyRange | None = None,
    first_seq: int = 0,
    ends: bool = True,
) -> OpenedBatch:
    """`rows`: (op, values[, absent columns]). `last`: ends a snapshot. `within`: of this range, since `first_seq`.
    `ends`: a transaction."""
    values: dict[str, list[Any]] = {name: [] for name in described.arrow.names}
    for number, row in enumerate(rows):
        own = {
            OP: row[0],
            POSITION: f"{epoch}-{seq}-{number}",
            COMMITTED_AT: None,
            ABSENT: row[2] if len(row) == 3 else None,
        }
        for name, held in values.items():
            held.append(own[name] if name in own else row[1].get(name))
    arrays = [pa.array(values[entry.name], entry.type) for entry in described.arrow]
    made = pa.RecordBatch.from_arrays(arrays, schema=described.arrow)
    part = snapshot or (1 if last else 0)
    return OpenedBatch(epoch, seq, described, made, part, last, first_seq, within, ends)


def mirror(platform: Platform, stream: StreamName = STREAM) -> list[dict[str, Any]]:
    """The mirror's rows, in the order of their text."""
    return sorted((row for part in platform.read(stream) for row in part.to_pylist()), key=repr)


def ask(platform: Platform, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = platform.sql(query).read_all().to_pylist()
    return rows


def row_of(number: int, name: str = "甲", capital: str | None = "1.50") -> dict[str, Any]:
    return {"id": number, "name": name, "capital": None if capital is None else Decimal(capital)}


def compact(platform: Platform, stream: StreamName = STREAM) -> int:
    done = 0
    while platform.maintain(stream):
        done += 1
        assert done < 50, "compaction never comes to an end"
    return done
