"""Alerts: each time that something was the matter, from when it was told of to when it was over.

    opened -> (acknowledged) -> closed        kind and subject name it; at most one of them is open

What watches (`forebay_collector.alerts`) opens and closes them, people acknowledge them. `told_severity` and `told_at` are
of the last notification that was made of it; `resolved_told` says that its end needs none any more.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, bindparam, delete, func, insert, select, update

from forebay_collector.ledger.alert_tables import alert, alert_lease, notification_alert
from forebay_collector.ledger.database import Database

_ALERT: Final = alert.c
_US: Final = timedelta(microseconds=1)
_SEEN: Final = (
    update(alert)
    .where(_ALERT.id == bindparam("of_id"))
    .values(last_seen_at=bindparam("at"), severity=bindparam("worst"), detail=bindparam("told"))
)


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is the matter. subject: what with: an agent, a source, a stream. department: whose, "" nobody's in
    particular. agent: at which, "" at none. detail: what the texts put in, JSON values; no secret and no row's value."""

    kind: str
    subject: str
    department: str
    agent: str
    severity: str
    code: str
    detail: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.subject


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """Times in microseconds, 0: not yet. last_seen_at: when it was last so, to a minute."""

    id: int
    kind: str
    subject: str
    department: str
    agent: str
    severity: str
    code: str
    detail: Mapping[str, Any]
    opened_at: int
    last_seen_at: int
    closed_at: int
    acknowledged_at: int
    acknowledged_by: str
    acknowledged_why: str
    told_severity: str
    told_at: int
    resolved_told: int

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.subject


def open_now(connection: Connection) -> list[AlertRecord]:
    """All that are open, in the order in which they were opened."""
    rows = connection.execute(select(alert).where(_ALERT.closed_at == 0).order_by(_ALERT.id)).mappings()
    return [to_record(row) for row in rows]


def to_resolve(connection: Connection) -> list[AlertRecord]:
    """Those that are over, were told of, and whose end was not."""
    chosen = (_ALERT.closed_at > 0) & (_ALERT.resolved_told == 0)
    rows = connection.execute(select(alert).where(chosen).order_by(_ALERT.id)).mappings()
    return [to_record(row) for row in rows]


def put(connection: Connection, found: Iterable[Condition], at: int) -> None:
    """Opens an alert of each; none of them is open."""
    rows = [
        {
            "kind": one.kind,
            "subject": one.subject,
            "department": one.department,
            "agent": one.agent,
            "severity": one.severity,
            "code": one.code,
            "detail": _json(one.detail),
            "opened_at": at,
            "last_seen_at": at,
            "closed_at": 0,
            "acknowledged_at": 0,
            "acknowledged_by": "",
            "acknowledged_why": "",
            "told_severity": "",
            "told_at": 0,
            "resolved_told": 0,
        }
        for one in found
    ]
    if rows:
        connection.execute(insert(alert), rows)


def seen(connection: Connection, still: Sequence[tuple[int, Condition]], at: int) -> None:
    """These, by id, are still so."""
    if still:
        rows = [{"of_id": number, "at": at, "worst": one.severity, "told": _json(one.detail)} for number, one in still]
        connection.execute(_SEEN, rows)


def close(connection: Connection, numbers: Collection[int], at: int) -> None:
    """These are over. Of one that nobody was told of, the end needs no telling either."""
    for some in _pieces(numbers):
        chosen = _ALERT.id.in_(some)
        connection.execute(update(alert).where(chosen).values(closed_at=at))
        connection.execute(update(alert).where(chosen, _ALERT.told_severity == "").values(resolved_told=1))


def told(connection: Connection, records: Collection[AlertRecord], at: int) -> None:
    """A notification of each was made, as severe as it is now."""
    for severity in {record.severity for record in records}:
        for some in _pieces([record.id for record in records if record.severity == severity]):
            connection.execute(update(alert).where(_ALERT.id.in_(some)).values(told_severity=severity, told_at=at))


def resolved(connection: Connection, numbers: Collection[int]) -> None:
    """Their end was told, or needs not be."""
    for some in _pieces(numbers):
        connection.execute(update(alert).where(_ALERT.id.in_(some)).values(resolved_told=1))


def acknowledge(connection: Connection, number: int, who: str, why: str, at: int) -> None:
    values = {"acknowledged_at": at, "acknowledged_by": who, "acknowledged_why": why}
    connection.execute(update(alert).where(_ALERT.id == number).values(**values))


def get(connection: Connection, number: int) -> AlertRecord | None:
    row = connection.execute(select(alert).where(_ALERT.id == number)).mappings().one_or_none()
    return None if row is None else to_record(row)


class Alerts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, number: int) -> AlertRecord | None:
        with self._database.read() as connection:
            return get(connection, number)

    def open(self, departments: Collection[str] | None = None, *, limit: int = 10_000) -> list[AlertRecord]:
        """Newest first; departments: only theirs, None: all, also what is nobody's in particular."""
        query = select(alert).where(_ALERT.closed_at == 0).order_by(_ALERT.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [to_record(row) for row in connection.execute(_within(query, departments)).mappings()]

    def count(self, departments: Collection[str] | None = None) -> dict[tuple[str, bool], int]:
        """How many are open, by severity and whether they are acknowledged."""
        known = (_ALERT.acknowledged_at > 0).label("known")
        query = select(_ALERT.severity, known, func.count()).where(_ALERT.closed_at == 0)
        query = _within(query.group_by(_ALERT.severity, known), departments)
        with self._database.read() as connection:
            return {(row[0], bool(row[1])): row[2] for row in connection.execute(query)}

    def listing(
        self,
        departments: Collection[str] | None = None,
        *,
        kind: str = "",
        subject: str = "",
        closed: bool | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[AlertRecord]:
        """Newest first. closed: only those that are over, or are not. before: only those with a smaller id."""
        query = _within(select(alert).order_by(_ALERT.id.desc()).limit(limit), departments)
        for column, wanted in ((_ALERT.kind, kind), (_ALERT.subject, subject)):
            if wanted:
                query = query.where(column == wanted)
        if closed is not None:
            query = query.where(_ALERT.closed_at > 0 if closed else _ALERT.closed_at == 0)
        if before is not None:
            query = query.where(_ALERT.id < before)
        with self._database.read() as connection:
            return [to_record(row) for row in connection.execute(query).mappings()]

    def lease(self, holder: str, lasts: timedelta) -> bool:
        """Whether this holder watches and notifies from now on, for so long; it does while no other one does."""
        now = self._database.clock()
        free = (alert_lease.c.holder == holder) | (alert_lease.c.until_at < now)
        with self._database.read() as connection:
            row = connection.execute(select(alert_lease.c.holder, alert_lease.c.until_at)).one()
            if row.holder != holder and row.until_at >= now:
                return False
            if row.holder == holder and row.until_at - now > lasts // _US // 2:
                return True
        with self._database.write() as connection:
            values = {"holder": holder, "until_at": now + lasts // _US}
            return connection.execute(update(alert_lease).where(free).values(**values)).rowcount == 1

    def release(self, holder: str) -> None:
        """Another one may watch at once."""
        with self._database.write() as connection:
            connection.execute(update(alert_lease).where(alert_lease.c.holder == holder).values(until_at=0))

    def expire(self, before: int) -> int:
        """Deletes those that were over before this moment; -> how many."""
        old = (_ALERT.closed_at > 0) & (_ALERT.closed_at < before)
        with self._database.write() as connection:
            gone = select(_ALERT.id).where(old)
            connection.execute(delete(notification_alert).where(notification_alert.c.alert_id.in_(gone)))
            return connection.execute(delete(alert).where(old)).rowcount


def to_record(row: RowMapping) -> AlertRecord:
    return AlertRecord(**{**row, "detail": json.loads(row["detail"])})


def _within(query: Select[Any], departments: Collection[str] | None) -> Select[Any]:
    return query if departments is None else query.where(_ALERT.department.in_(sorted(departments)))


def _json(detail: Mapping[str, Any]) -> str:
    return json.dumps(detail, ensure_ascii=False)


def _pieces(numbers: Collection[int], most: int = 500) -> list[list[int]]:
    ordered = sorted(numbers)
    return [ordered[first : first + most] for first in range(0, len(ordered), most)]
