"""The row that the agent writes to MySQL for a canary, in a transaction of its own."""

from __future__ import annotations

from typing import Final

from forebay_agent.capture.canary import ROW_AT, ROW_ID
from forebay_agent.capture.mysql import describe, sql
from forebay_agent.capture.mysql.session import Session
from forebay_agent.capture.source import TableName
from forebay_agent.errors import PrivilegeMissing, TableMissing

_WRITE: Final = "INSERT INTO {table} (id, made_at) VALUES (%s, %s) ON DUPLICATE KEY UPDATE made_at = %s"


def write_row(writer: Session, table: TableName, row: str, at_us: int) -> None:
    """See `WritesRow.write_canary`."""
    name = sql.qualified(describe.located(writer, table))
    try:
        writer.rows(
            _WRITE.format(table=name.replace("%", "%%")), row, at_us, at_us, doing=f"writing the canary to {table}"
        )
    except PrivilegeMissing as error:
        grant = f"GRANT SELECT, INSERT, UPDATE ON {name} TO {describe.grantee(writer.user)};"
        raise PrivilegeMissing(str(error), sql=grant) from None
    except TableMissing as error:
        create = f"CREATE TABLE {name} ({ROW_ID} VARCHAR(255) PRIMARY KEY, {ROW_AT} BIGINT NOT NULL);"
        remedy = "Ask the DBA to run this, or set `kind` of [canary] to read."
        raise TableMissing(str(error), remedy=remedy, sql=create) from None
