"""How far back a window reaches: a column's value less an overlap, as text.

Numbers take a whole number; dates, timestamps and ISO 8601 text (SQLite's way of dates) take a duration. A date is moved
by whole days, at least as far as asked. What would fall before the first date there is stays at the first date.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

import pyarrow as pa

from forebay_agent.errors import TableMisconfigured

_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_ISO: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(?:([ T])(\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)(Z|[+-]\d{2}:\d{2})?)?")


def lowered(value: str, kind: pa.DataType, overlap: timedelta | int) -> str:
    """`value` (text as in `marks`) less `overlap`, as text of the same form. Raises TableMisconfigured where the column's
    values cannot be moved by such an overlap."""
    if not overlap:
        return value
    if isinstance(overlap, int):
        if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            less = Decimal(value) - overlap
            return format(max(less, Decimal(0)) if pa.types.is_unsigned_integer(kind) else less, "f")
        if pa.types.is_floating(kind):
            return repr(float(value) - overlap)
        if pa.types.is_string(kind) and _INTEGER.fullmatch(value):  # seconds since 1970 in a column without a type
            return str(int(value) - overlap)
    elif pa.types.is_date(kind):
        return _earlier_date(date.fromisoformat(value), overlap).isoformat()
    elif pa.types.is_timestamp(kind):
        moment = _earlier(datetime.fromisoformat(value), overlap)
        return moment.isoformat(" ", "microseconds")
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _lowered_text(value, overlap)
    raise TableMisconfigured(
        f"an overlap of {overlap} cannot be taken from values of type {kind}",
        key="overlap",
        remedy="Give seconds or a duration for dates and timestamps, a whole number for numbers.",
    )


def _lowered_text(value: str, overlap: timedelta) -> str:
    parts = _ISO.fullmatch(value)
    if parts is None:
        raise TableMisconfigured(
            "the cursor column holds text that is no date or time in ISO form, so that no overlap can be taken from it",
            key="overlap",
            remedy="Remove the overlap, or use a cursor column of dates like 2026-01-31 or 2026-01-31 12:00:00.",
        )
    day, separator, clock, zone = parts.groups()
    if clock is None:
        return _earlier_date(date.fromisoformat(day), overlap).isoformat()
    moment = _earlier(datetime.fromisoformat(f"{day}T{clock}"), overlap)
    whole, _, fraction = clock.partition(".")
    text = moment.isoformat(separator, "minutes" if len(whole) == 5 else "seconds")
    if fraction:
        text += f".{moment.microsecond:06d}"[: 1 + len(fraction)]
    return text + (zone or "")


def _earlier(moment: datetime, overlap: timedelta) -> datetime:
    try:
        return moment - overlap
    except OverflowError:
        return datetime(1, 1, 1)  # noqa: DTZ001 - a value without a zone


def _earlier_date(day: date, overlap: timedelta) -> date:
    days = -(-overlap // timedelta(days=1))
    try:
        return day - timedelta(days=days)
    except OverflowError:
        return date.min
