"""The tables of alerts, their notifications and maintenance windows, as queries see them (see `tables.py`)."""

from __future__ import annotations

from typing import Final

from forebay_collector.ledger.columns import number as _number
from forebay_collector.ledger.columns import serial as _serial
from forebay_collector.ledger.columns import table as _table
from forebay_collector.ledger.columns import text as _text

alert: Final = _table(
    "alert",
    _serial("id"),
    _text("kind"),
    _text("subject"),
    _text("department"),
    _text("agent"),
    _text("severity"),
    _text("code"),
    _text("detail"),
    _number("opened_at"),
    _number("last_seen_at"),
    _number("closed_at"),
    _number("acknowledged_at"),
    _text("acknowledged_by"),
    _text("acknowledged_why"),
    _text("told_severity"),
    _number("told_at"),
    _number("resolved_told"),
)

notification: Final = _table(
    "notification",
    _serial("id"),
    _text("channel"),
    _text("what"),
    _text("kind"),
    _number("made_at"),
    _number("due_at"),
    _number("attempts"),
    _text("state"),
    _number("ended_at"),
    _text("outcome"),
)

notification_alert: Final = _table(
    "notification_alert",
    _number("notification_id", key=True),
    _number("alert_id", key=True),
)

maintenance: Final = _table(
    "maintenance",
    _serial("id"),
    _text("scope"),
    _text("name"),
    _text("department"),
    _number("from_at"),
    _number("until_at"),
    _text("why"),
    _text("opened_by"),
    _number("opened_at"),
    _text("closed_by"),
    _number("closed_at"),
)

alert_lease: Final = _table(
    "alert_lease",
    _number("one", key=True),
    _text("holder"),
    _number("until_at"),
)
