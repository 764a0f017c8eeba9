"""What the simulated agents send: three tables each, a batch of a few rows each time, sealed by the real code."""

from __future__ import annotations

import random
import time
from decimal import Decimal
from typing import Final

import pyarrow as pa

from forebay_wire.digest import GENESIS
from forebay_wire.schema import TableSchema, column
from forebay_wire.seal import Link, SealedBatch, seal
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2, control_pb2

TABLES: Final = ("public.enterprise", "public.licence", "public.inspection")
ROWS: Final = 20
AGENTS_OF_A_DEPARTMENT: Final = 50
SCHEMA: Final = TableSchema.of(
    [
        column("id", pa.int64(), "bigint"),
        column("name", pa.string(), "text"),
        column("amount", pa.decimal128(18, 2), "numeric(18,2)"),
        column("changed_at", pa.timestamp("us"), "timestamp"),
    ],
    ["id"],
)


def agent_name(number: int) -> str:
    return f"agent-{number:04d}"


def department_of(number: int) -> str:
    return f"department {number // AGENTS_OF_A_DEPARTMENT:02d}"


def streams_of(number: int) -> list[StreamName]:
    return [StreamName(department_of(number), f"source-{number:04d}", table) for table in TABLES]


def schema_message(stream: StreamName) -> batch_pb2.Schema:
    return batch_pb2.Schema(stream=stream.to_proto(), fingerprint=SCHEMA.fingerprint, arrow_schema=SCHEMA.serialized)


def proposal(stream: StreamName) -> control_pb2.Proposal:
    columns = [
        control_pb2.ProposedColumn(name=field.name, origin="", type=str(field.type))
        for field in SCHEMA.arrow
        if not field.name.startswith("_")
    ]
    return control_pb2.Proposal(
        stream=stream.to_proto(), columns=columns, key=["id"], mode="log", guarantee="every committed change"
    )


class Chain:
    """One stream, batch after batch. seed: of the values."""

    def __init__(self, stream: StreamName, seed: int) -> None:
        self.stream = stream
        self.link = Link(1, 1, GENESIS)
        self._random = random.Random(f"{seed} {stream}")

    def next(self) -> SealedBatch:
        """`ROWS` new keys, committed now."""
        first = (self.link.seq - 1) * ROWS
        at = time.time_ns() // 1_000
        rows = pa.record_batch(
            [
                pa.array(range(first, first + ROWS)),
                pa.array([self._random.randbytes(12).hex() for _ in range(ROWS)]),
                pa.array([Decimal(self._random.randrange(10**8)) for _ in range(ROWS)], pa.decimal128(18, 2)),
                pa.array([at] * ROWS, pa.timestamp("us")),
                pa.array(["c"] * ROWS),
                pa.array([f"{number:012d}" for number in range(first, first + ROWS)]),
                pa.array([at] * ROWS, pa.timestamp("us", "UTC")),
                pa.array([None] * ROWS, SCHEMA.arrow.field("_absent").type),
            ],
            schema=SCHEMA.arrow,
        )
        batch = seal(self.stream, self.link, SCHEMA, rows, captured_at_us=at)
        self.link = self.link.after(batch)
        return batch
