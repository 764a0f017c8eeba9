"""Horizon: which transactions and statements are open that could still commit a row.

InnoDB's list of transactions (INNODB_TRX) is not all of it: a statement takes NOW() before InnoDB starts its transaction, and
may then wait for a lock. So the running statements (PROCESSLIST) are read first and the transactions second: what runs and
is in no transaction yet is looked for once more, and what is then still so counts as open by its connection, until that
connection is seen idle. `OpenWork` remembers such connections, since the transaction that one of them starts later
has a name of its own.

Names: `connection 7 since 2026-01-31 12:00:00` for a transaction (its number changes when a reading transaction begins to
write), and `transaction 4711` besides, once it has a number for good (a prepared XA transaction outlives its connection).

INNODB_TRX is answered from a copy that is not renewed while anyone reads it more often than every 0.1 s. Our own
transaction is in the list with the text of the very statement that reads it, if and only if the copy is fresh.

Left out: what cannot write (READ ONLY transactions, plain SELECTs, our own session). A replica applies transactions long after
they took their timestamps, and a Galera node those of other nodes: there nobody can tell.
"""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass
from typing import Final

from forebay_agent.capture.mysql.session import Session
from forebay_agent.errors import PrivilegeMissing, SourceError

TOLD_ENGINES: Final = {"", "innodb", "myisam", "aria", "memory", "csv", "archive"}
"""engines whose writes show in INNODB_TRX or last as long as their statement; a view has none"""

_RENEWED_SECONDS: Final = 0.11
_TRIES: Final = 60
_FIRST_TEMPORARY_NUMBER: Final = 1 << 48  # above: MySQL's placeholder of a transaction that only reads so far
_RUNNING: Final = (
    "SELECT ID, USER, COMMAND FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() "
    "AND ((COMMAND NOT IN ('Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID')) "
    "OR (USER = 'system user' AND COMMAND <> 'Daemon'))"
)
_TRANSACTIONS: Final = (
    "SELECT trx_mysql_thread_id, trx_id, CAST(trx_started AS CHAR), trx_mysql_thread_id = CONNECTION_ID(), "
    "trx_is_read_only OR trx_autocommit_non_locking, trx_query LIKE %s FROM information_schema.INNODB_TRX"
)
_APPLIER: Final = "system user"


class _CannotTell(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Transaction:
    connection: int
    number: int
    started: str
    writes: bool

    def names(self) -> set[str]:
        names = set()
        if self.connection:
            names.add(f"connection {self.connection} since {self.started}")
        if 0 < self.number < _FIRST_TEMPORARY_NUMBER:
            names.add(f"transaction {self.number}")
        return names


class OpenWork:
    """Observes one server through one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: frozenset[int] = frozenset()
        self.on_replica = False
        """whether the server applies what was committed elsewhere, as last seen"""

    def ids(self) -> frozenset[str] | None:
        """Ids of what is open now, None when the server or our privileges do not allow to tell."""
        try:
            return self._observe()
        except (_CannotTell, PrivilegeMissing):
            return None

    def _observe(self) -> frozenset[str]:
        running = self._running()
        transactions = self._transactions()
        if running - {transaction.connection for transaction in transactions}:
            before = running
            running = self._running()
            transactions = self._transactions()
            unexplained = before & running - {transaction.connection for transaction in transactions}
        else:
            unexplained = frozenset()
        writing = [transaction for transaction in transactions if transaction.writes]
        still = self._waiting & (running | {transaction.connection for transaction in writing})
        self._waiting = unexplained | still
        names = {f"connection {connection}" for connection in self._waiting}
        for transaction in writing:
            names |= transaction.names()
        return frozenset(names)

    def _running(self) -> frozenset[int]:
        rows = self._session.rows(_RUNNING, doing="listing running statements")
        self.on_replica = any(user == _APPLIER for _, user, _ in rows)
        if self.on_replica:
            raise _CannotTell
        return frozenset(connection for connection, _, _ in rows)

    def _transactions(self) -> list[_Transaction]:
        for _ in range(_TRIES):
            token = uuid.uuid4().hex
            self._session.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            try:
                rows = self._session.rows(_TRANSACTIONS, f"%{token}%", doing="listing open transactions")
            finally:
                self._session.rows("COMMIT")
            if any(ours and fresh for _, _, _, ours, _, fresh in rows):
                return [
                    _Transaction(int(connection), int(number), started, not reads)
                    for connection, number, started, ours, reads, _ in rows
                    if not ours
                ]
            time.sleep(_RENEWED_SECONDS * random.uniform(1, 1.5))  # noqa: S311 - out of step with other readers
        raise SourceError(
            f"the list of open transactions at {self._session.where} is never fresh: another session reads INNODB_TRX "
            "more often than every 0.1 s",
            remedy="Let the monitoring of that database read INNODB_TRX less often.",
        )
