"""Certificates of completeness, as they were issued. None is ever changed or removed: each names the one before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, func, insert, select

from forebay_collector.ledger import audit, tables
from forebay_collector.ledger.database import Database

_KEPT = tables.completeness.c
_COLUMNS = [column for column in _KEPT if column.name != "content"]
ISSUED = "certificate issued"


@dataclass(frozen=True, slots=True)
class CertificateOfDay:
    """One certificate. day: YYYY-MM-DD. totals: what it says of all its tables, as `judgement.totals`."""

    id: int
    department: str
    day: str
    issued_at: int
    issued_by: str
    tables: int
    totals: Mapping[str, int]

    @property
    def complete(self) -> bool:
        """Whether each of its tables is."""
        return bool(self.totals["complete"] == self.totals["tables"])


Sign = Callable[[int, str], bytes]
"""(number within the department, SHA-256 of the certificate before it, hexadecimal, empty for the first) -> the file."""


class Completeness:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, department: str, day: str, totals: Mapping[str, int], sign: Sign, *, by: str, via: str) -> int:
        """Numbers, signs, keeps and audits one; -> its id."""
        at = self._database.clock()
        with self._database.write() as connection:
            number, previous = _before(connection, department)
            content = sign(number, previous)
            values = {"department": department, "day": day, "issued_at": at, "issued_by": by}
            made: int = connection.execute(
                insert(tables.completeness)
                .values(**values, tables=totals["tables"], statement=json.dumps(totals), content=content)
                .returning(_KEPT.id)
            ).scalar_one()
            detail = {"day": day, "number": number, "sha256": hashlib.sha256(content).hexdigest(), "via": via}
            audit.record(connection, at, by, ISSUED, department, "", {**detail, "department": department})
            return made

    def get(self, number: int) -> tuple[CertificateOfDay, bytes] | None:
        """The one with this id, and its file."""
        with self._database.read() as connection:
            row = connection.execute(select(tables.completeness).where(_KEPT.id == number)).mappings().one_or_none()
            return None if row is None else (_to_record(row), bytes(row["content"]))

    def listing(
        self,
        *,
        department: str = "",
        departments: frozenset[str] | None = None,
        day: str = "",
        limit: int = 100,
        before: int | None = None,
    ) -> list[CertificateOfDay]:
        """Newest first; `before`: only those with a smaller id."""
        query = select(*_COLUMNS).order_by(_KEPT.id.desc()).limit(limit)
        if department:
            query = query.where(_KEPT.department == department)
        if departments is not None:
            query = query.where(_KEPT.department.in_(sorted(departments)))
        if day:
            query = query.where(_KEPT.day == day)
        if before is not None:
            query = query.where(_KEPT.id < before)
        with self._database.read() as connection:
            return [_to_record(row) for row in connection.execute(query).mappings()]

    def last_days(self) -> dict[str, str]:
        """The last day of which each department has a certificate."""
        query = select(_KEPT.department, func.max(_KEPT.day)).group_by(_KEPT.department)
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


def _before(connection: Connection, department: str) -> tuple[int, str]:
    of_it = _KEPT.department == department
    count: int = connection.execute(select(func.count()).where(of_it)).scalar_one()
    newest = select(_KEPT.content).where(of_it).order_by(_KEPT.id.desc()).limit(1)
    content: bytes | None = connection.execute(newest).scalar_one_or_none()
    return count + 1, "" if content is None else hashlib.sha256(content).hexdigest()


def _to_record(row: RowMapping) -> CertificateOfDay:
    plain = {column.name: row[column.name] for column in _COLUMNS if column.name != "statement"}
    return CertificateOfDay(**plain, totals=json.loads(row["statement"]))
