"""Attempts to log in: who failed how often, and until when they must wait.

An attempt is counted as a failure when it begins, in one transaction, and forgiven when it succeeds: so many attempts at
the same time get no more tries than one after the other. From the limit on every failure doubles the wait, up to a bound.
An attempt that comes while it is locked is refused without being counted: it does not prolong the wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from forebay_collector.ledger import account_tables as tables

MOST: Final = 100_000
"""Subjects that are kept at most; beyond them those go that were quiet longest."""


@dataclass(frozen=True, slots=True)
class Limit:
    """failures: how many are free. first, most: the wait in microseconds after one more, and the longest. forget: after
    so long without a failure all are forgotten."""

    failures: int
    first: int
    most: int
    forget: int

    def wait(self, failures: int) -> int:
        """How long to wait after so many failures."""
        over = failures - self.failures
        return 0 if over < 0 else min(self.most, self.first << min(over, 40))


def waits(connection: Connection, subject: str, at: int) -> int:
    """Microseconds that the subject must still wait."""
    query = select(tables.login_attempt.c.locked_until).where(tables.login_attempt.c.subject == subject)
    until: int = connection.execute(query).scalar_one_or_none() or 0
    return max(0, until - at)


def count(connection: Connection, subject: str, limit: Limit, at: int) -> int:
    """Counts one failure; -> microseconds that it locks the subject for."""
    attempt = tables.login_attempt.c
    mine = attempt.subject == subject
    query = select(attempt.failures, attempt.last_at).where(mine).with_for_update()
    row = connection.execute(query).one_or_none()
    failures = 1 if row is None or at - row.last_at > limit.forget else row.failures + 1
    wait = limit.wait(failures)
    values = {"failures": failures, "last_at": at, "locked_until": at + wait if wait else 0}
    if row is not None:
        connection.execute(update(tables.login_attempt).where(mine).values(**values))
    else:
        _make_room(connection)
        connection.execute(insert(tables.login_attempt).values(subject=subject, **values))
    return wait


def forgive(connection: Connection, subject: str) -> None:
    """The attempt that was counted last has succeeded."""
    attempt = tables.login_attempt.c
    less = update(tables.login_attempt).where(attempt.subject == subject, attempt.failures > 0)
    connection.execute(less.values(failures=attempt.failures - 1, locked_until=0))


def forget(connection: Connection, subject: str) -> None:
    """Nothing is held against the subject any more."""
    connection.execute(delete(tables.login_attempt).where(tables.login_attempt.c.subject == subject))


def _make_room(connection: Connection) -> None:
    attempt = tables.login_attempt.c
    if connection.execute(select(func.count()).select_from(tables.login_attempt)).scalar_one() >= MOST:
        oldest = select(attempt.subject).order_by(attempt.last_at).limit(MOST // 10)
        connection.execute(delete(tables.login_attempt).where(attempt.subject.in_(oldest)))
