"""Audit: who did what to what, when and why. Entries are only ever added, in the transaction of the deed itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from forebay_collector.ledger import tables
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.records import AuditRecord


def record(
    connection: Connection,
    at: int,
    who: str,
    action: str,
    subject: str,
    why: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Adds an entry within the caller's transaction. `detail` is JSON and holds no secret and no row's value."""
    values = {"at": at, "who": who, "action": action, "subject": subject, "why": why}
    connection.execute(insert(tables.audit).values(**values, detail=json.dumps(detail or {}, ensure_ascii=False)))


class Audit:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, who: str, action: str, subject: str, why: str = "", detail: Mapping[str, Any] | None = None) -> None:
        with self._database.write() as connection:
            record(connection, self._database.clock(), who, action, subject, why, detail)

    def listing(self, *, subject: str = "", action: str = "", since: int = 0, limit: int = 100) -> list[AuditRecord]:
        """Newest first."""
        query = select(tables.audit).where(tables.audit.c.at >= since)
        if subject:
            query = query.where(tables.audit.c.subject == subject)
        if action:
            query = query.where(tables.audit.c.action == action)
        query = query.order_by(tables.audit.c.at.desc(), tables.audit.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [AuditRecord(**{**row, "detail": json.loads(row["detail"])}) for row in rows]
