"""Alerts: what is the matter now and what was, knowing of it, and maintenance windows in which nothing is notified.

What watches is `forebay_collector.alerts`; here is what people see and do. An alert that is nobody's in particular, such as
one of a certificate that no agent has, is seen by those who see all departments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection

from forebay_collector.alerts import texts
from forebay_collector.alerts.kinds import Severity
from forebay_collector.errors import NotKnown, NotPermitted, NotPossible
from forebay_collector.ledger import Ledger, audit, maintenance
from forebay_collector.ledger import alerts as ledger_alerts
from forebay_collector.ledger.alerts import AlertRecord
from forebay_collector.ledger.maintenance import Scope, WindowRecord
from forebay_collector.service.actor import Actor, Permission

ACKNOWLEDGED: Final = "acknowledge"
OPENED: Final = "maintenance"
CLOSED: Final = "maintenance ended"
LONGEST: Final = timedelta(days=90)
"""of a window: one that nobody remembers hides everything."""
_US: Final = timedelta(microseconds=1)
_NO_REASON: Final = "a reason is needed: it is kept for ever beside the deed"
_LARGEST: Final = (1 << 63) - 1


class WindowState(StrEnum):
    """Where a maintenance window stands."""

    PLANNED = "planned"
    OPEN = "open"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class AlertView:
    """An alert. Times in microseconds, 0: not yet. kind, code: as in `alerts.kinds`. name, reason, remedy: in English;
    `texts` has both languages. notified_at: when a message about it was last made. silenced: a window holds messages back.
    """

    id: int
    kind: str
    subject: str
    department: str
    agent: str
    severity: Severity
    code: str
    name: str
    reason: str
    remedy: str
    detail: Mapping[str, Any]
    opened_at: int
    last_seen_at: int
    closed_at: int
    acknowledged_at: int
    acknowledged_by: str
    acknowledged_why: str
    notified_at: int
    silenced: bool
    record: AlertRecord

    @property
    def open(self) -> bool:
        return not self.closed_at


@dataclass(frozen=True, slots=True)
class WindowView:
    """A maintenance window: [from_at, until_at), microseconds. name: the department or the agent, empty for all."""

    id: int
    scope: Scope
    name: str
    department: str
    state: WindowState
    from_at: int
    until_at: int
    why: str
    opened_by: str
    opened_at: int
    closed_by: str
    closed_at: int


def open_alerts(
    ledger: Ledger, actor: Actor, *, department: str = "", kind: str = "", severity: str = ""
) -> list[AlertView]:
    """What is the matter now: what nobody knows of first, then the worst, then the newest. Raises NotPermitted."""
    actor.require(Permission.SEE, department)
    found = [
        view
        for view in _views(ledger, ledger.alerts.open({department} if department else actor.departments))
        if (not kind or view.kind == kind) and (not severity or view.severity == severity)
    ]
    return sorted(found, key=lambda one: (one.acknowledged_at > 0, one.severity is not Severity.CRITICAL, -one.id))


def history(
    ledger: Ledger,
    actor: Actor,
    *,
    department: str = "",
    kind: str = "",
    subject: str = "",
    closed: bool | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[AlertView]:
    """Newest first. closed: only those that are over, or are not. before: only those with a smaller id. Raises NotPermitted."""
    actor.require(Permission.SEE, department)
    departments = {department} if department else actor.departments
    last = None if before is None else max(-_LARGEST, min(before, _LARGEST))
    found = ledger.alerts.listing(departments, kind=kind, subject=subject, closed=closed, before=last, limit=limit)
    return _views(ledger, found)


def alert(ledger: Ledger, actor: Actor, number: int) -> AlertView:
    """Raises NotKnown, also where it is another department's; NotPermitted."""
    actor.require(Permission.SEE)
    with ledger.database.read() as connection:
        record = _need(connection, actor, number)
    return _views(ledger, [record])[0]


def acknowledge(ledger: Ledger, actor: Actor, number: int, why: str) -> AlertView:
    """Somebody knows of it, and sees to it: no reminders are sent any more.

    Raises:
        NotKnown: there is no such alert.
        NotPermitted: the actor does not operate its department.
        NotPossible: it is over, somebody acknowledged it before, or no reason is given.
    """
    actor.require(Permission.OPERATE)
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        record = _need(connection, actor, number)
        actor.require(Permission.OPERATE, record.department)
        if not why.strip():
            raise NotPossible(_NO_REASON, remedy="Say why.")
        if record.closed_at:
            raise NotPossible(f"alert {number} is over", remedy="Nothing is to be done about it.")
        if record.acknowledged_at:
            raise NotPossible(
                f"alert {number} is acknowledged by {record.acknowledged_by}", remedy="Ask whoever sees to it."
            )
        ledger_alerts.acknowledge(connection, number, actor.name, why.strip(), at)
        detail = {"via": actor.via, "alert": number, "kind": record.kind}
        audit.record(
            connection, at, actor.name, ACKNOWLEDGED, record.subject, why.strip(), detail, department=record.department
        )
    return alert(ledger, actor, number)


def count(ledger: Ledger, actor: Actor) -> tuple[int, int]:
    """How many are open that nobody acknowledged: critical ones, and warnings. Raises NotPermitted."""
    actor.require(Permission.SEE)
    found = ledger.alerts.count(actor.departments)
    return found.get((Severity.CRITICAL, False), 0), found.get((Severity.WARNING, False), 0)


def open_window(
    ledger: Ledger,
    actor: Actor,
    scope: str,
    name: str = "",
    *,
    lasts: timedelta,
    why: str,
    from_at: int | None = None,
) -> WindowView:
    """From `from_at` (microseconds; now) on and for so long nothing is notified of what is in scope: all, a department, an
    agent. What happens is recorded all the same.

    Raises:
        NotKnown: there is no such agent or department.
        NotPermitted: the actor does not operate it; all: not every department.
        NotPossible: scope, times or reason cannot be used.
    """
    actor.require(Permission.OPERATE)
    wanted, department = _scope(ledger, actor, scope, name)
    if not why.strip():
        raise NotPossible(_NO_REASON, remedy="Say why.")
    if not timedelta(0) < lasts <= LONGEST:
        raise NotPossible(f"a window lasts at most {LONGEST.days} days", remedy="Choose another end.")
    at = ledger.database.clock()
    begins = at if from_at is None else from_at
    until = begins + lasts // _US
    if until <= at or begins > at + LONGEST // _US:
        raise NotPossible("a window ends later than now, and begins within 90 days", remedy="Choose other times.")
    with ledger.database.write() as connection:
        number = maintenance.put(
            connection,
            scope=wanted,
            name=name,
            department=department,
            from_at=begins,
            until_at=until,
            why=why.strip(),
            who=actor.name,
            at=at,
        )
        detail = {"via": actor.via, "window": number, "scope": wanted, "from": begins, "until": until}
        audit.record(connection, at, actor.name, OPENED, name or scope, why.strip(), detail, department=department)
        record = maintenance.get(connection, number)
        assert record is not None
    return _window(record, at)


def close_window(ledger: Ledger, actor: Actor, number: int, why: str) -> WindowView:
    """Ends a window now: what is still the matter is notified. Raises NotKnown, NotPermitted, NotPossible (it is over, or
    no reason is given)."""
    actor.require(Permission.OPERATE)
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        record = maintenance.get(connection, number) if abs(number) <= _LARGEST else None
        if record is None or (record.department and not actor.sees(record.department)):
            raise NotKnown(f"maintenance window {number} is not in the ledger", remedy="List them: `maintenance list`.")
        _require(actor, record.department)
        if not why.strip():
            raise NotPossible(_NO_REASON, remedy="Say why.")
        if record.until_at <= at:
            raise NotPossible(f"maintenance window {number} is over", remedy="Nothing is to be done about it.")
        maintenance.end(connection, number, actor.name, at)
        detail = {"via": actor.via, "window": number, "scope": record.scope}
        subject = record.name or record.scope
        audit.record(connection, at, actor.name, CLOSED, subject, why.strip(), detail, department=record.department)
        ended = maintenance.get(connection, number)
        assert ended is not None
    return _window(ended, at)


def windows(ledger: Ledger, actor: Actor, *, past: bool = False, limit: int = 200) -> list[WindowView]:
    """Those that are open or still to come, the latest first; `past`: also those that are over. Raises NotPermitted."""
    actor.require(Permission.SEE)
    at = ledger.database.clock()
    return [_window(one, at) for one in ledger.maintenance.listing(actor.departments, past=past, limit=limit)]


def _scope(ledger: Ledger, actor: Actor, scope: str, name: str) -> tuple[Scope, str]:
    """The scope, and the department that it is in, "" for all. Raises NotKnown, NotPermitted, NotPossible."""
    if scope not in tuple(Scope):
        raise NotPossible(f"{scope!r} is no scope", remedy=f"There are {', '.join(Scope)}.")
    wanted = Scope(scope)
    if wanted is Scope.ALL:
        if name:
            raise NotPossible("a window of all has no name", remedy="Leave the name out, or choose another scope.")
        _require(actor, "")
        return wanted, ""
    if wanted is Scope.AGENT:
        record = ledger.agents.get(name)
        if record is None or not actor.sees(record.department):
            raise NotKnown(f"agent {name} is not in the ledger")
        department = record.department
    else:
        known = actor.sees(name) and bool(ledger.agents.listing(department=name))
        if not name or not known:
            raise NotKnown(f"no agent is of department {name}", remedy="See `forebay-collector agents` for the names.")
        department = name
    actor.require(Permission.OPERATE, department)
    return wanted, department


def _require(actor: Actor, department: str) -> None:
    """Raises NotPermitted. What is of all departments needs all of them."""
    actor.require(Permission.OPERATE, department)
    if not department and actor.departments is not None:
        raise NotPermitted(f"{actor.name} may not operate all departments")


def _need(connection: Connection, actor: Actor, number: int) -> AlertRecord:
    record = ledger_alerts.get(connection, number) if abs(number) <= _LARGEST else None
    mine = record is not None and (actor.departments is None or record.department in actor.departments)
    if record is None or not mine:
        raise NotKnown(f"alert {number} is not in the ledger", remedy="List them with `forebay-collector alerts`.")
    return record


def _views(ledger: Ledger, records: list[AlertRecord]) -> list[AlertView]:
    at = ledger.database.clock()
    with ledger.database.read() as connection:
        windows_now = maintenance.not_over(connection, at)
    return [_view(record, windows_now, at) for record in records]


def _view(record: AlertRecord, windows_now: list[WindowRecord], at: int) -> AlertView:
    return AlertView(
        id=record.id,
        kind=record.kind,
        subject=record.subject,
        department=record.department,
        agent=record.agent,
        severity=Severity(record.severity),
        code=record.code,
        name=texts.name(record.kind, "en"),
        reason=texts.reason(record, "en"),
        remedy=texts.remedy(record.kind, "en"),
        detail=record.detail,
        opened_at=record.opened_at,
        last_seen_at=record.last_seen_at,
        closed_at=record.closed_at,
        acknowledged_at=record.acknowledged_at,
        acknowledged_by=record.acknowledged_by,
        acknowledged_why=record.acknowledged_why,
        notified_at=record.told_at,
        silenced=not record.closed_at and any(one.covers(record.department, record.agent, at) for one in windows_now),
        record=record,
    )


def _window(record: WindowRecord, at: int) -> WindowView:
    state = WindowState.OVER if record.until_at <= at else WindowState.OPEN
    if record.from_at > at and state is not WindowState.OVER:
        state = WindowState.PLANNED
    return WindowView(
        id=record.id,
        scope=record.scope,
        name=record.name,
        department=record.department,
        state=state,
        from_at=record.from_at,
        until_at=record.until_at,
        why=record.why,
        opened_by=record.opened_by,
        opened_at=record.opened_at,
        closed_by=record.closed_by,
        closed_at=record.closed_at,
    )
