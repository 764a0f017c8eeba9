"""The ledger's tables as queries see them. What creates them stands in `migrations/`; a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text

METADATA: Final = MetaData()
_SERIAL: Final = BigInteger().with_variant(Integer(), "sqlite")


def _table(name: str, *columns: Column[object]) -> Table:
    return Table(name, METADATA, *columns)


def _text(name: str, *, key: bool = False) -> Column[object]:
    return Column(name, Text(), nullable=False, primary_key=key)


def _number(name: str, *, key: bool = False) -> Column[object]:
    return Column(name, BigInteger(), nullable=False, primary_key=key, autoincrement=False)


def _bytes(name: str, *, key: bool = False) -> Column[object]:
    return Column(name, LargeBinary(), nullable=False, primary_key=key)


def _serial(name: str) -> Column[object]:
    return Column(name, _SERIAL, primary_key=True, autoincrement=True)


agent: Final = _table(
    "agent",
    _text("name", key=True),
    _text("department"),
    _text("serial"),
    _number("expires_at"),
    _number("enrolled_at"),
    _number("revoked_at"),
    _number("last_seen_at"),
    _text("version"),
    _text("hostname"),
    _text("instance"),
    _text("health"),
    _text("streams"),
)

token: Final = _table(
    "token",
    _bytes("secret_sha256", key=True),
    _text("department"),
    _text("agent"),
    _number("created_at"),
    _text("created_by"),
    _number("expires_at"),
    _number("used_at"),
)

stream: Final = _table(
    "stream",
    _serial("id"),
    _text("department"),
    _text("source"),
    _text("table_name"),
    _text("agent"),
    _number("epoch"),
    _number("durable_seq"),
    _bytes("durable_chain"),
    _number("loaded_epoch"),
    _number("loaded_seq"),
    _text("held_code"),
    _text("held_reason"),
    _number("held_at"),
    _number("held_epoch"),
    _number("held_seq"),
)

schema: Final = _table(
    "schema",
    _number("stream_id", key=True),
    _bytes("fingerprint", key=True),
    _bytes("content"),
    _number("received_at"),
)

dictionary: Final = _table(
    "dictionary",
    _number("stream_id", key=True),
    _text("dictionary_id", key=True),
    _bytes("content"),
    _number("received_at"),
)

batch: Final = _table(
    "batch",
    _number("stream_id", key=True),
    _number("epoch", key=True),
    _number("seq", key=True),
    _bytes("header"),
    _number("row_count"),
    _number("reads"),
    _number("inserts"),
    _number("updates"),
    _number("deletes"),
    _number("bytes"),
    _text("first_position"),
    _text("last_position"),
    _number("first_committed_at"),
    _number("last_committed_at"),
    _number("captured_at"),
    _number("received_at"),
    _number("loaded_at"),
    _number("expired_at"),
    _number("snapshot"),
    _number("last_of_snapshot"),
    _text("state"),
    _text("code"),
    _text("reason"),
    _number("attempts"),
)

audit: Final = _table(
    "audit",
    _serial("id"),
    _number("at"),
    _text("who"),
    _text("action"),
    _text("subject"),
    _text("why"),
    _text("detail"),
)

command: Final = _table(
    "command",
    _text("id", key=True),
    _text("agent"),
    _text("kind"),
    _text("parameters"),
    _text("created_by"),
    _number("created_at"),
    _number("expires_at"),
    _text("state"),
    _text("code"),
    _text("reason"),
    _number("ended_at"),
)

command_part: Final = _table(
    "command_part",
    _text("command_id", key=True),
    _number("part", key=True),
    _bytes("content"),
)

certificate: Final = _table(
    "certificate",
    _text("serial", key=True),
    _text("agent"),
    _number("issued_at"),
    _number("expires_at"),
    _number("ended_at"),
    _text("ended_by"),
)
