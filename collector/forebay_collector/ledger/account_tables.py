"""The tables of people's accounts and what they come in with, as queries see them (see `tables.py`)."""

from __future__ import annotations

from typing import Final

from forebay_collector.ledger.columns import content as _bytes
from forebay_collector.ledger.columns import number as _number
from forebay_collector.ledger.columns import serial as _serial
from forebay_collector.ledger.columns import table as _table
from forebay_collector.ledger.columns import text as _text

account: Final = _table(
    "account",
    _text("name", key=True),
    _text("issuer"),
    _text("subject"),
    _text("password_hash"),
    _number("must_change"),
    _text("roles"),
    _text("departments"),
    _number("created_at"),
    _text("created_by"),
    _number("password_at"),
    _number("last_login_at"),
    _number("disabled_at"),
)

session: Final = _table(
    "session",
    _bytes("secret_sha256", key=True),
    _text("account"),
    _number("created_at"),
    _number("seen_at"),
    _number("idle"),
    _number("expires_at"),
)

login_link: Final = _table(
    "login_link",
    _bytes("secret_sha256", key=True),
    _text("account"),
    _number("created_at"),
    _text("created_by"),
    _number("expires_at"),
    _number("used_at"),
)

api_token: Final = _table(
    "api_token",
    _serial("id"),
    _bytes("secret_sha256"),
    _text("account"),
    _text("label"),
    _text("roles"),
    _text("departments"),
    _number("created_at"),
    _text("created_by"),
    _number("expires_at"),
    _number("last_used_at"),
    _number("revoked_at"),
)

login_attempt: Final = _table(
    "login_attempt",
    _text("subject", key=True),
    _number("failures"),
    _number("last_at"),
    _number("locked_until"),
)

oidc_request: Final = _table(
    "oidc_request",
    _bytes("state_sha256", key=True),
    _bytes("browser_sha256"),
    _number("created_at"),
    _number("expires_at"),
)
