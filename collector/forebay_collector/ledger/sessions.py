"""Sessions and one-time links: what shows, for a while, that someone has logged in or may. Only SHA-256 is kept of both.

A session ends when nothing was asked for `idle`, or at `expires_at`, or when it is deleted. It is looked up with every
request; that it was used is written down at most once in `SEEN_EVERY`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, or_, select, update

from forebay_collector.ledger import account_tables as tables
from forebay_collector.ledger.database import Database

SEEN_EVERY: Final = 60_000_000
MOST: Final = 20
"""Sessions that one account has at most; the oldest ends when there is one more."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """idle: microseconds."""

    account: str
    created_at: int
    seen_at: int
    idle: int
    expires_at: int


class Sessions:
    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, secret_sha256: bytes, *, keeps_alive: bool = True) -> SessionRecord | None:
        """The session, when it has not ended; it counts as used now, if that is to keep it alive."""
        at = self._database.clock()
        session = tables.session.c
        columns = (session.account, session.created_at, session.seen_at, session.idle, session.expires_at)
        with self._database.read() as connection:
            row = connection.execute(select(*columns).where(session.secret_sha256 == secret_sha256)).one_or_none()
        if row is None:
            return None
        found = SessionRecord(*row)
        if at >= found.expires_at or at >= found.seen_at + found.idle:
            return None
        if keeps_alive and at - found.seen_at >= min(SEEN_EVERY, found.idle // 4):
            with self._database.write() as connection:
                mine = session.secret_sha256 == secret_sha256
                connection.execute(update(tables.session).where(mine, session.seen_at < at).values(seen_at=at))
        return found

    def listing(self, account: str) -> list[SessionRecord]:
        """Those that have not ended, the last used first."""
        at = self._database.clock()
        session = tables.session.c
        columns = (session.account, session.created_at, session.seen_at, session.idle, session.expires_at)
        query = select(*columns).where(session.account == account, session.expires_at > at)
        query = query.where(session.seen_at + session.idle > at).order_by(session.seen_at.desc())
        with self._database.read() as connection:
            return [SessionRecord(*row) for row in connection.execute(query)]


def add(connection: Connection, secret_sha256: bytes, account: str, at: int, *, idle: int, expires_at: int) -> None:
    """Opens a session; sessions that have ended, and the oldest of too many, go."""
    session = tables.session.c
    over = or_(session.expires_at <= at, session.seen_at + session.idle <= at)
    connection.execute(delete(tables.session).where(over))
    mine = select(session.secret_sha256).where(session.account == account).order_by(session.created_at.desc())
    for (old,) in connection.execute(mine.offset(MOST - 1)).all():
        connection.execute(delete(tables.session).where(session.secret_sha256 == old))
    values = {"account": account, "created_at": at, "seen_at": at, "idle": idle, "expires_at": expires_at}
    connection.execute(insert(tables.session).values(secret_sha256=secret_sha256, **values))


def end(connection: Connection, secret_sha256: bytes) -> str | None:
    """Ends one session; -> whose it was."""
    ended = delete(tables.session).where(tables.session.c.secret_sha256 == secret_sha256)
    return connection.execute(ended.returning(tables.session.c.account)).scalar_one_or_none()


def end_all(connection: Connection, account: str) -> int:
    """Ends the account's sessions and its links that were not used; -> how many sessions."""
    link = tables.login_link.c
    connection.execute(delete(tables.login_link).where(link.account == account, link.used_at == 0))
    return connection.execute(delete(tables.session).where(tables.session.c.account == account)).rowcount


def add_link(connection: Connection, secret_sha256: bytes, account: str, at: int, who: str, expires_at: int) -> None:
    connection.execute(delete(tables.login_link).where(tables.login_link.c.expires_at <= at))
    values = {"account": account, "created_at": at, "created_by": who, "expires_at": expires_at, "used_at": 0}
    connection.execute(insert(tables.login_link).values(secret_sha256=secret_sha256, **values))


def use_link(connection: Connection, secret_sha256: bytes, at: int) -> str | None:
    """Spends the link; -> its account, None when it is not known, was used, or has expired."""
    link = tables.login_link.c
    spent = update(tables.login_link).where(
        link.secret_sha256 == secret_sha256, link.used_at == 0, link.expires_at > at
    )
    return connection.execute(spent.values(used_at=at).returning(link.account)).scalar_one_or_none()
