"""Audit: who did what to what, when and why. Entries are only ever added, in the transaction of the deed itself.

Each is chained to the one before it (`chain.py`). Record it last in the transaction: writers queue at the chain's end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, select

from forebay_collector.ledger import chain, tables
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.records import AuditRecord
from forebay_collector.ledger.verdict import EXPIRED, AuditVerdict, judge

_LARGEST: Final = (1 << 63) - 1


def record(
    connection: Connection,
    at: int,
    who: str,
    action: str,
    subject: str,
    why: str = "",
    detail: Mapping[str, Any] | None = None,
    *,
    department: str | None = None,
) -> int:
    """Adds an entry within the caller's transaction; -> its id. `detail` is JSON and holds no secret and no row's value.

    department: whose matter it is, "" nobody's in particular; by default what `detail` or the subject, a stream or an
    agent, says.
    """
    if department is None:
        department = _department(connection, subject, detail or {})
    texts = {"who": who, "action": action, "subject": subject, "why": why, "department": department}
    texts["detail"] = json.dumps(detail or {}, ensure_ascii=False)
    return chain.append(connection, {"at": at} | {name: _storable(text) for name, text in texts.items()})


def _storable(text: str) -> str:
    """Text that every database stores: what people sent may hold half a character, or NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _number(value: int) -> int:
    """The nearest number that every database stores."""
    return max(-_LARGEST, min(value, _LARGEST))


def _department(connection: Connection, subject: str, detail: Mapping[str, Any]) -> str:
    if isinstance(said := detail.get("department"), str):
        return said
    if subject.count("/") >= 2:
        return subject.partition("/")[0]
    query = select(tables.agent.c.department).where(tables.agent.c.name == subject)
    return connection.execute(query).scalar_one_or_none() or ""


class Audit:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, who: str, action: str, subject: str, why: str = "", detail: Mapping[str, Any] | None = None) -> None:
        with self._database.write() as connection:
            record(connection, self._database.clock(), who, action, subject, why, detail)

    def listing(
        self,
        *,
        subject: str = "",
        action: str = "",
        who: str = "",
        departments: frozenset[str] | None = None,
        since: int = 0,
        until: int | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[AuditRecord]:
        """Newest first. since, until: [microseconds, microseconds); before: only entries with a smaller id."""
        audit = tables.audit.c
        query = select(tables.audit).where(audit.at >= _number(since))
        for column, wanted in ((audit.subject, subject), (audit.action, action), (audit.who, who)):
            if wanted:
                query = query.where(column == _storable(wanted))
        if departments is not None:
            query = query.where(audit.department.in_([_storable(name) for name in departments]))
        if until is not None:
            query = query.where(audit.at < _number(until))
        if before is not None:
            query = query.where(audit.id < _number(before))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(audit.id.desc()).limit(limit)).mappings().all()
        return [_to_record(row) for row in rows]

    def actions(self, departments: frozenset[str] | None = None) -> list[str]:
        """The actions that occur."""
        query = select(tables.audit.c.action).distinct().order_by(tables.audit.c.action)
        if departments is not None:
            query = query.where(tables.audit.c.department.in_([_storable(name) for name in departments]))
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def expire(self, before: int) -> int:
        """Removes the oldest entries, those from before this moment, and records that; -> how many."""
        at = self._database.clock()
        with self._database.write() as connection:
            had = chain.locked_head(connection)
            after = chain.expire(connection, before)
            if after is None:
                return 0
            anchor = chain.anchor_text(after.expired, after.anchor)
            record(connection, at, "retention", EXPIRED, anchor, detail={"from": had.expired + 1}, department="")
            return after.expired - had.expired

    def oldest(self) -> int | None:
        """When the first entry that is kept was made."""
        first = select(tables.audit.c.at).order_by(tables.audit.c.id).limit(1)
        with self._database.read() as connection:
            return connection.execute(first).scalar_one_or_none()

    def verify(self, noted: tuple[int, bytes] | None = None) -> AuditVerdict:
        """Judges the chain as it stands now. noted: the number and digest of an entry that were noted elsewhere."""
        with self._database.read() as connection:
            return judge(connection, noted)


def _to_record(row: RowMapping) -> AuditRecord:
    return AuditRecord(**{**row, "detail": json.loads(row["detail"])})
