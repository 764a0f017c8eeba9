"""How far back a window reaches."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pytest

from forebay_agent.capture.overlap import lowered
from forebay_agent.errors import TableMisconfigured

MINUTE = timedelta(seconds=60)


@pytest.mark.parametrize(
    ("value", "kind", "overlap", "less"),
    [
        ("100", pa.int64(), 7, "93"),
        ("3", pa.uint64(), 7, "0"),
        ("12.50", pa.decimal128(10, 2), 5, "7.50"),
        ("1.5", pa.float64(), 1, "0.5"),
        ("2026-03-01", pa.date32(), MINUTE, "2026-02-28"),
        ("2026-03-01", pa.date32(), timedelta(days=2), "2026-02-27"),
        ("2026-03-01 00:00:00.000001", pa.timestamp("us"), MINUTE, "2026-02-28 23:59:00.000001"),
        ("2026-03-01 00:00:30", pa.string(), MINUTE, "2026-02-28 23:59:30"),
        ("2026-03-01T00:00:30Z", pa.string(), MINUTE, "2026-02-28T23:59:30Z"),
        ("2026-03-01 00:00:30.25", pa.string(), MINUTE, "2026-02-28 23:59:30.25"),
        ("2026-03-01 00:00+08:00", pa.string(), MINUTE, "2026-02-28 23:59+08:00"),
        ("2026-03-01", pa.string(), MINUTE, "2026-02-28"),
        ("1767139200", pa.string(), 60, "1767139140"),
        ("0001-01-01 00:00:30", pa.string(), MINUTE, "0001-01-01 00:00:00"),
        ("0001-01-01", pa.date32(), MINUTE, "0001-01-01"),
        ("any text", pa.string(), timedelta(0), "any text"),
    ],
)
def test_a_value_less_an_overlap_keeps_its_form(
    value: str, kind: pa.DataType, overlap: timedelta | int, less: str
) -> None:
    assert lowered(value, kind, overlap) == less


@pytest.mark.parametrize(
    ("value", "kind", "overlap"),
    [
        ("any text", pa.string(), MINUTE),
        ("5", pa.int64(), MINUTE),
        ("2026-03-01", pa.date32(), 5),
        ("x", pa.string(), 5),
    ],
)
def test_an_overlap_that_does_not_fit_is_refused(value: str, kind: pa.DataType, overlap: timedelta | int) -> None:
    with pytest.raises(TableMisconfigured):
        lowered(value, kind, overlap)
