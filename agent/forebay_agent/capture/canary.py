"""What a database permits a canary to write: a row of a table that a DBA made for it, or a message in the log.

    CREATE TABLE forebay_canary (id VARCHAR(255) PRIMARY KEY, made_at BIGINT NOT NULL)

The row is the agent's own, by `id`; `made_at` is microseconds since 1970 UTC. Nothing else of the database is ever written
for a canary, and each write is a transaction of its own, in a session of its own.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeGuard

from forebay_agent.capture.source import Source, TableName

MESSAGE_PREFIX: Final = "forebay.canary"
"""what messages in the log are told from others' by"""

ROW_ID: Final = "id"
ROW_AT: Final = "made_at"


class WritesRow(Source, Protocol):
    """A Source of a database that rows can be written to."""

    def write_canary(self, table: TableName, row: str, at_us: int) -> None:
        """Sets `made_at` of the row, which is inserted where it is not there. Raises TableMissing, PrivilegeMissing with the
        SQL that grants it, SourceError and its like."""


class WritesMessage(Source, Protocol):
    """A Source of a database whose log takes messages, and gives them back in `LogPiece.messages`."""

    def messages_come_back(self) -> bool:
        """Whether this server's log gives messages back."""

    def write_message(self, text: str) -> None:
        """Writes a message under MESSAGE_PREFIX, transactionally. Raises SourceError and its like."""


def writes_row(source: Source) -> TypeGuard[WritesRow]:
    return hasattr(source, "write_canary")


def writes_message(source: Source) -> TypeGuard[WritesMessage]:
    return hasattr(source, "write_message")
