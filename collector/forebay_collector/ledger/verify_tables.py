"""The tables of verification and repair, as queries see them (see `tables.py`)."""

from __future__ import annotations

from typing import Final

from forebay_collector.ledger.columns import content as _bytes
from forebay_collector.ledger.columns import number as _number
from forebay_collector.ledger.columns import serial as _serial
from forebay_collector.ledger.columns import table as _table
from forebay_collector.ledger.columns import text as _text

platform_digest: Final = _table(
    "platform_digest",
    _text("stream", key=True),
    _text("part_after", key=True),
    _text("part_through", key=True),
    _text("state"),
    _number("cells"),
    _bytes("content"),
    _number("read_at"),
)

coverage: Final = _table(
    "coverage",
    _number("stream_id", key=True),
    _number("round"),
    _number("began_at"),
    _text("part_after"),
    _number("source_rows"),
    _text("source_digest"),
    _number("platform_rows"),
    _text("platform_digest"),
    _number("missing"),
    _number("extra"),
    _number("different"),
    _number("in_flight"),
    _number("looked_at"),
    _number("covered_at"),
    _number("next_at"),
    _text("code"),
    _text("reason"),
)

repair: Final = _table(
    "repair",
    _serial("id"),
    _number("stream_id"),
    _text("asked_by"),
    _text("via"),
    _text("why"),
    _number("asked_at"),
    _number("touched_at"),
    _number("ended_at"),
    _text("progress"),
    _text("state"),
    _number("dry_run"),
    _number("missing"),
    _number("extra"),
    _number("different"),
    _number("sent"),
    _number("deleted"),
    _number("left_over"),
    _text("keys"),
    _text("code"),
    _text("reason"),
    _text("remedy"),
)
