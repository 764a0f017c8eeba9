"""The row that the agent writes to a SQLite file for a canary, in a transaction of its own."""

from __future__ import annotations

from typing import Final

from forebay_agent.capture.canary import ROW_AT, ROW_ID
from forebay_agent.capture.source import TableName
from forebay_agent.capture.sqlite.session import Session
from forebay_agent.errors import TableMissing

_WRITE: Final = (
    "INSERT INTO {table} (id, made_at) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET made_at = excluded.made_at"
)


def write_row(writer: Session, table: TableName, row: str, at_us: int) -> None:
    """See `WritesRow.write_canary`."""
    name = ".".join('"' + part.replace('"', '""') + '"' for part in (table.schema or "main", table.name))
    with writer.classified(f"the canary's table {table}"):
        known = writer.connection.execute(
            "SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = ?", (table.name,)
        ).fetchone()
    if known is None:
        raise TableMissing(
            f"there is no table {table} for the canary",
            remedy="Make the table, or set `kind` of [canary] to read.",
            sql=f"CREATE TABLE {name} ({ROW_ID} TEXT PRIMARY KEY, {ROW_AT} INTEGER NOT NULL);",
        )
    with writer.classified(f"writing the canary to {table}"):
        writer.connection.execute(_WRITE.format(table=name), (row, at_us))
