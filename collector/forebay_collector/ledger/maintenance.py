"""Maintenance windows: when nothing is notified of an agent, a department, or anything. What happens is recorded all the same."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from forebay_collector.ledger.alert_tables import maintenance
from forebay_collector.ledger.database import Database

_WINDOW: Final = maintenance.c


class Scope(StrEnum):
    """What a window is about."""

    ALL = "all"
    DEPARTMENT = "department"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class WindowRecord:
    """name: of the department or the agent. department: whose, "" of all. [from_at, until_at): microseconds. closed_at: when
    it was ended before its time; until_at then says the same."""

    id: int
    scope: Scope
    name: str
    department: str
    from_at: int
    until_at: int
    why: str
    opened_by: str
    opened_at: int
    closed_by: str
    closed_at: int

    def covers(self, department: str, agent: str, at: int) -> bool:
        """Whether nothing is notified at this moment of what is this department's, at this agent."""
        if not self.from_at <= at < self.until_at:
            return False
        match self.scope:
            case Scope.ALL:
                return True
            case Scope.DEPARTMENT:
                return department == self.name
            case Scope.AGENT:
                return agent == self.name


def put(
    connection: Connection,
    *,
    scope: Scope,
    name: str,
    department: str,
    from_at: int,
    until_at: int,
    why: str,
    who: str,
    at: int,
) -> int:
    """-> its id."""
    times = {"from_at": from_at, "until_at": until_at, "opened_at": at, "closed_at": 0}
    values = {"scope": scope, "name": name, "department": department, "why": why, "opened_by": who, "closed_by": ""}
    made: int = connection.execute(insert(maintenance).values(**values, **times).returning(_WINDOW.id)).scalar_one()
    return made


def end(connection: Connection, number: int, who: str, at: int) -> None:
    """It ends now. One that had not begun never does."""
    connection.execute(update(maintenance).where(_WINDOW.id == number).values(until_at=at, closed_at=at, closed_by=who))


def get(connection: Connection, number: int) -> WindowRecord | None:
    row = connection.execute(select(maintenance).where(_WINDOW.id == number)).mappings().one_or_none()
    return None if row is None else WindowRecord(**{**row, "scope": Scope(row["scope"])})


def not_over(connection: Connection, at: int) -> list[WindowRecord]:
    """Those that are open or still to come, by when they begin."""
    query = select(maintenance).where(_WINDOW.until_at > at).order_by(_WINDOW.from_at, _WINDOW.id)
    return [WindowRecord(**{**row, "scope": Scope(row["scope"])}) for row in connection.execute(query).mappings()]


class Maintenance:
    def __init__(self, database: Database) -> None:
        self._database = database

    def listing(
        self, departments: Collection[str] | None = None, *, past: bool = False, limit: int = 200
    ) -> list[WindowRecord]:
        """Those that are open or still to come, with `past` also those that are over; the latest first. departments: only
        theirs, and those of everything; None: all."""
        query = select(maintenance).order_by(_WINDOW.from_at.desc(), _WINDOW.id.desc()).limit(limit)
        if not past:
            query = query.where(_WINDOW.until_at > self._database.clock())
        if departments is not None:
            query = query.where(_WINDOW.department.in_(["", *sorted(departments)]))
        with self._database.read() as connection:
            rows = connection.execute(query).mappings()
            return [WindowRecord(**{**row, "scope": Scope(row["scope"])}) for row in rows]

    def expire(self, before: int) -> int:
        """Deletes those that were over before this moment; -> how many."""
        with self._database.write() as connection:
            return connection.execute(delete(maintenance).where(_WINDOW.until_at < before)).rowcount
