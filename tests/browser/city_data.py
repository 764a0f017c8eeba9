"""What stands in the made-up city: its departments, the moment at which its clock stands still, and rows of its tables."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Final

import pyarrow as pa

from forebay_collector.demo.people import People
from forebay_wire.schema import TableSchema, column
from forebay_wire.stream import StreamName

NOW: Final = int(datetime(2026, 11, 23, 9, 41, 12, tzinfo=timezone(timedelta(hours=8))).timestamp() * 1_000_000)
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

LOW_INCOME: Final = StreamName("民政局", "dbk", "main.low_income")
PERMITS: Final = StreamName("行政审批局", "sgs", "public.permit")
AGENT: Final = "mzj-01"
# department, initials, agents, tables
DEPARTMENTS: Final = (
    ("市监局", "scjg", 5, ("public.enterprise", "public.annual_report", "public.penalty")),
    ("民政局", "mzj", 3, ("main.low_income", "main.marriage")),
    ("行政审批局", "xzsp", 3, ("public.permit", "public.matter")),
    ("公安局", "gaj", 6, ("gab.vehicle", "gab.residence")),
    ("人社局", "rsj", 4, ("public.insured", "public.pension")),
    ("住建局", "zjj", 4, ("dbo.house", "dbo.project")),
    ("教育局", "jyj", 4, ("public.school", "public.student")),
    ("卫健委", "wjw", 5, ("public.birth", "public.hospital")),
    ("自然资源局", "zrzy", 3, ("public.parcel", "public.title")),
    ("税务局", "swj", 3, ("public.taxpayer",)),
    ("交通局", "jtj", 4, ("public.licence", "public.carrier")),
    ("水利局", "slj", 2, ("public.gauge",)),
    ("医保局", "ybj", 3, ("public.claim", "public.insured")),
    ("应急局", "yjj", 2, ("public.hazard",)),
)
LOW_INCOME_SCHEMA: Final = TableSchema.of(
    [
        column("card_no", pa.string(), "VARCHAR(20)"),
        column("name", pa.string(), "VARCHAR(60)", mask="name"),
        column("citizen_id", pa.string(), "CHAR(18)", mask="citizen_id"),
        column("mobile", pa.string(), "VARCHAR(11)", mask="mobile"),
        column("household_size", pa.int64(), "BIGINT"),
        column("monthly_amount", pa.decimal128(18, 2), "DECIMAL(18,2)"),
        column("town", pa.string(), "VARCHAR(60)"),
    ],
    ["card_no"],
)
PLAIN: Final = TableSchema.of([column("id", pa.int64(), "BIGINT"), column("v", pa.string(), "TEXT")], ["id"])


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


def source_of(initials: str) -> str:
    """The name of a department's source."""
    return {"mzj": "dbk", "xzsp": "sgs"}.get(initials, initials)


def low_income_rows(people: People, seq: int, draw: random.Random, at: int) -> pa.RecordBatch:
    """Rows masked as an agent masks them: the first batch a snapshot, then small changes."""
    count = 400 if seq == 1 else draw.randrange(4, 60)
    made = [_person(people, draw, number) for number in range((seq - 1) * 60, (seq - 1) * 60 + count)]
    columns = list(zip(*made, strict=True))
    fields = LOW_INCOME_SCHEMA.arrow
    arrays = [pa.array(values, fields.field(place).type) for place, values in enumerate(columns)]
    ops = ["r"] * count if seq == 1 else [draw.choice("ccuuud") for _ in range(count)]
    return pa.record_batch(
        [
            *arrays,
            pa.array(ops),
            pa.array([f"change:{(seq - 1) * 60 + number}" for number in range(count)]),
            pa.array([at - 4 * SECOND] * count, pa.timestamp("us", "UTC")),
            pa.array([None] * count, fields.field("_absent").type),
        ],
        schema=fields,
    )


def _person(people: People, draw: random.Random, number: int) -> tuple[object, ...]:
    citizen, mobile = people.citizen_id(), people.mobile()
    return (
        f"DB{number:08d}",
        people.name()[0] + "*",
        citizen[:6] + "*" * 8 + citizen[-4:],
        None if draw.random() < 0.2 else mobile[:3] + "****" + mobile[-4:],
        draw.randrange(1, 8),
        Decimal(people.amount(2_000)),
        draw.choice(("桥圩镇", "石卡镇", "木圭镇", "大安镇")),
    )


def plain_rows(first: int, count: int) -> pa.RecordBatch:
    fields = PLAIN.arrow
    return pa.record_batch(
        [
            pa.array(range(first, first + count)),
            pa.array(["x"] * count),
            pa.array(["u"] * count),
            pa.array([f"0-1-{first + number}" for number in range(count)]),
            pa.array([None] * count, pa.timestamp("us", "UTC")),
            pa.array([None] * count, fields.field("_absent").type),
        ],
        schema=fields,
    )
