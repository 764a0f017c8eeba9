"""What the agent writes to PostgreSQL for a canary: one row, or one message in the log. Each is a transaction of its own."""

from __future__ import annotations

import struct
from typing import Final

from forebay_agent.capture.canary import MESSAGE_PREFIX, ROW_AT, ROW_ID
from forebay_agent.capture.postgresql import catalogue
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.postgresql.sql import identifier, qualified
from forebay_agent.capture.source import TableName
from forebay_agent.config.model import CanaryConfig
from forebay_agent.errors import PrivilegeMissing, TableMissing

MESSAGES_VERSION: Final = 140_000
"""from here on the server sends messages of the log to those who ask for them"""

_WRITE: Final = (
    "INSERT INTO {table} AS c (id, made_at) VALUES (%s, %s) "
    "ON CONFLICT (id) DO UPDATE SET made_at = EXCLUDED.made_at RETURNING 1"
)
_EMIT: Final = "SELECT pg_logical_emit_message(true, %s, %s)"
_HEADER: Final = struct.Struct("!cBQ")


def write_row(writer: Session, table: TableName, row: str, at_us: int) -> None:
    """See `WritesRow.write_canary`."""
    relation = catalogue.find(writer, table)
    if relation is None:
        raise TableMissing(f"there is no table {table} for the canary", remedy=MAKE_IT, sql=create(table))
    name = qualified(relation.table)
    try:
        writer.rows(_WRITE.format(table=name), (row, at_us))
    except PrivilegeMissing as error:
        role = identifier(catalogue.role(writer))
        raise PrivilegeMissing(str(error), sql=f"GRANT SELECT, INSERT, UPDATE ON {name} TO {role};") from None


def write_message(writer: Session, text: str) -> None:
    """See `WritesMessage.write_message`."""
    writer.rows(_EMIT, (MESSAGE_PREFIX, text))


def wants_messages(config: CanaryConfig, server_version: int) -> bool:
    """Whether the log is to be asked for messages."""
    return server_version >= MESSAGES_VERSION and (
        config.kind == "message" or (config.kind == "auto" and not config.table)
    )


def text_of(message: bytes) -> str | None:
    """What a canary wrote, of a Message of pgoutput (`M`, flags, LSN, prefix, length, content); None when it is another's.

    Raises ValueError, struct.error when the message is malformed.
    """
    _HEADER.unpack_from(message)
    prefix, _, rest = message[_HEADER.size :].partition(b"\0")
    (size,) = struct.unpack_from("!I", rest)
    if len(rest) != 4 + size:
        raise ValueError("a Message is not well formed")
    return rest[4:].decode("utf-8", "replace") if prefix == MESSAGE_PREFIX.encode() else None


MAKE_IT: Final = "Ask the DBA to run this, or set `kind` of [canary] to read."


def create(table: TableName) -> str:
    """The table that a DBA makes for it."""
    return f"CREATE TABLE {qualified(table)} ({ROW_ID} varchar(255) PRIMARY KEY, {ROW_AT} bigint NOT NULL);"
