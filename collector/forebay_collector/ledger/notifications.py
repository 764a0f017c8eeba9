"""Notifications: messages about alerts, each to one channel, kept until the other end has them.

    waiting -> sending -> sent
                       -> waiting     not reached; again when it is due
                       -> failed      not reached after many attempts

A channel's messages go in order. One that is found in `sending` lost the process that sent it, and nobody knows whether it
arrived: it is sent again, under the same id, by which whoever receives it can tell.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, Connection, delete, func, insert, literal_column, select, update

from forebay_collector.ledger.alert_tables import alert, notification, notification_alert
from forebay_collector.ledger.alerts import AlertRecord, to_record
from forebay_collector.ledger.database import Database

OPENED: Final = "opened"
WORSE: Final = "worse"
REMINDER: Final = "reminder"
RESOLVED: Final = "resolved"
TEST: Final = "test"
WAITING: Final = "waiting"
SENDING: Final = "sending"
SENT: Final = "sent"
FAILED: Final = "failed"
_NOTE: Final = notification.c
# written into the statement, not bound: a partial index is used only for literals
_OPEN: Final[ColumnElement[bool]] = literal_column("notification.state IN ('waiting', 'sending')", Boolean)


@dataclass(frozen=True, slots=True)
class NotificationRecord:
    """Times in microseconds, 0: not yet. outcome: of the last attempt; it holds no secret."""

    id: int
    channel: str
    what: str
    kind: str
    made_at: int
    due_at: int
    attempts: int
    state: str
    ended_at: int
    outcome: str


@dataclass(frozen=True, slots=True)
class ChannelRecord:
    """last: the newest that came to an end, or was tried. waiting: how many are not sent yet."""

    last: NotificationRecord | None
    last_sent_at: int
    waiting: int


def put(connection: Connection, channel: str, what: str, kind: str, alerts: Collection[int], at: int) -> int:
    """Puts a message down; -> its id."""
    values = {"channel": channel, "what": what, "kind": kind, "made_at": at, "due_at": at, "attempts": 0}
    made: int = connection.execute(
        insert(notification).values(**values, state=WAITING, ended_at=0, outcome="").returning(_NOTE.id)
    ).scalar_one()
    if alerts:
        rows = [{"notification_id": made, "alert_id": number} for number in sorted(alerts)]
        connection.execute(insert(notification_alert), rows)
    return made


def begun(connection: Connection, channel: str, what: str, at: int) -> NotificationRecord:
    """One that is sent at once by whoever asked for it, and by nobody else: in no state that a sender takes up."""
    number = put(connection, channel, what, "", (), at)
    values = {"state": FAILED, "attempts": 1, "ended_at": at, "outcome": "interrupted"}
    connection.execute(update(notification).where(_NOTE.id == number).values(**values))
    row = connection.execute(select(notification).where(_NOTE.id == number)).mappings().one()
    return NotificationRecord(**row)


class Notifications:
    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, channel: str) -> tuple[NotificationRecord, list[AlertRecord]] | None:
        """The channel's first message that is not sent, if it is due, now in `sending`; and what it is about."""
        now = self._database.clock()
        first = select(notification).where(_OPEN, _NOTE.channel == channel).order_by(_NOTE.id).limit(1)
        with self._database.read() as connection:
            row = connection.execute(first).mappings().one_or_none()
        if row is None or row["due_at"] > now:
            return None
        about = (
            select(alert)
            .join(notification_alert, notification_alert.c.alert_id == alert.c.id)
            .where(notification_alert.c.notification_id == row["id"])
            .order_by(alert.c.id)
        )
        with self._database.write() as connection:
            values = {"state": SENDING, "attempts": _NOTE.attempts + 1}
            connection.execute(update(notification).where(_NOTE.id == row["id"]).values(**values))
            alerts = [to_record(one) for one in connection.execute(about).mappings()]
        return NotificationRecord(**{**row, "state": SENDING, "attempts": row["attempts"] + 1}), alerts

    def end(self, number: int, state: str, outcome: str, *, due_at: int = 0) -> None:
        """What became of an attempt: SENT, FAILED, or WAITING until `due_at`."""
        at = self._database.clock()
        values: dict[str, Any] = {"state": state, "outcome": outcome[:500], "due_at": due_at or at, "ended_at": at}
        with self._database.write() as connection:
            connection.execute(update(notification).where(_NOTE.id == number).values(**values))

    def drop(self, channels: Collection[str], reason: str) -> int:
        """What waits for a channel that is not one of these is given up; -> how many. Only reads while there is none."""
        chosen = _OPEN & _NOTE.channel.not_in(sorted(channels))
        with self._database.read() as connection:
            if connection.execute(select(_NOTE.id).where(chosen).limit(1)).first() is None:
                return 0
        values = {"state": FAILED, "outcome": reason, "ended_at": self._database.clock()}
        with self._database.write() as connection:
            return connection.execute(update(notification).where(chosen).values(**values)).rowcount

    def channel(self, name: str) -> ChannelRecord:
        tried = select(notification).where(_NOTE.channel == name, _NOTE.ended_at > 0)
        sent = select(func.coalesce(func.max(_NOTE.ended_at), 0)).where(_NOTE.channel == name, _NOTE.state == SENT)
        waits = select(func.count()).select_from(notification).where(_OPEN, _NOTE.channel == name)
        newest = tried.order_by(_NOTE.ended_at.desc(), _NOTE.id.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(newest).mappings().one_or_none()
            last = None if row is None else NotificationRecord(**row)
            return ChannelRecord(last, connection.execute(sent).scalar_one(), connection.execute(waits).scalar_one())

    def listing(self, *, alert_id: int | None = None, channel: str = "", limit: int = 100) -> list[NotificationRecord]:
        """Newest first."""
        query = select(notification).order_by(_NOTE.id.desc()).limit(limit)
        if alert_id is not None:
            of_alert = select(notification_alert.c.notification_id).where(notification_alert.c.alert_id == alert_id)
            query = query.where(_NOTE.id.in_(of_alert))
        if channel:
            query = query.where(_NOTE.channel == channel)
        with self._database.read() as connection:
            return [NotificationRecord(**row) for row in connection.execute(query).mappings()]

    def expire(self, before: int) -> int:
        """Deletes what came to an end before this moment; -> how many."""
        old = (_NOTE.ended_at > 0) & (_NOTE.ended_at < before) & _NOTE.state.in_((SENT, FAILED))
        with self._database.write() as connection:
            gone = select(_NOTE.id).where(old)
            connection.execute(delete(notification_alert).where(notification_alert.c.notification_id.in_(gone)))
            return connection.execute(delete(notification).where(old)).rowcount
