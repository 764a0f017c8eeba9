"""Events that the scanner leaves to judgement: tables, statements, XA transactions, what is compressed, files of the log.

`judge` is called for the event at which the scanner stopped. Events within events (what was inflated, a prepared transaction
that commits) become tasks, done one event at a time by `work`, so that a piece may end in their midst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from forebay_agent.capture.mysql.log import payload, query_event
from forebay_agent.capture.mysql.log.charsets import Charsets
from forebay_agent.capture.mysql.log.checkpoint import Place
from forebay_agent.capture.mysql.log.names import Names
from forebay_agent.capture.mysql.log.prepared import Prepared, prepare_event
from forebay_agent.capture.mysql.log.statements import Does, Statement, statement_of
from forebay_agent.capture.mysql.log.tables import Part, Tables
from forebay_agent.capture.source import TableName
from forebay_agent.errors import AgentError, LogGap, LogUnfit
from forebay_agent.kernel import binlog
from forebay_agent.kernel.binlog import LogScanner

QUERY, STOP, ROTATE, INTVAR, APPEND_BLOCK, DELETE_FILE, RAND, USER_VAR, FORMAT = 2, 3, 4, 5, 9, 11, 13, 14, 15
BEGIN_LOAD, EXECUTE_LOAD, TABLE_MAP, INCIDENT, IGNORABLE, PREVIOUS_GTIDS, CONTEXT, VIEW_CHANGE = (
    17,
    18,
    19,
    26,
    28,
    35,
    36,
    37,
)
XA_PREPARE, PARTIAL_UPDATE, PAYLOAD = 38, 39, 40
BINLOG_CHECKPOINT, MARIADB_GTID, GTID_LIST, START_ENCRYPTION, COMPRESSED_QUERY = 161, 162, 163, 164, 165
_SAYS_NOTHING: Final = {
    *(STOP, INTVAR, APPEND_BLOCK, DELETE_FILE, RAND, USER_VAR, BEGIN_LOAD, IGNORABLE, PREVIOUS_GTIDS, CONTEXT),
    *(VIEW_CHANGE, BINLOG_CHECKPOINT, GTID_LIST, START_ENCRYPTION),
}
_LOADS: Final = {6, 7, 8, 10, 12, EXECUTE_LOAD}
_ROWS: Final = {23, 24, 25, 30, 31, 32}
_COMPRESSED_ROWS: Final = {166: 23, 167: 24, 168: 25, 169: 30, 170: 31, 171: 32}
_ARTIFICIAL: Final = 0x20
_MAY_BE_IGNORED: Final = 0x80
_STANDS_ALONE, _XA_PREPARES = 1, 64
_ALTER_BEGINS, _ALTER_IS_UNDONE = 2 << 8, 8 << 8
_ROW_FORMAT: Final = "SET GLOBAL binlog_format = 'ROW';"
_ROW_IMAGE: Final = "SET GLOBAL binlog_row_image = 'FULL';"
_WHOLE_JSON: Final = "SET GLOBAL binlog_row_value_options = '';"
_THEN: Final = "Ask the DBA to run this (open connections keep their own setting), then take the table anew: `forebay-agent snapshot STREAM --reason …`."


@dataclass(slots=True)
class _Task:
    """ends: the transaction is at its end with the last event."""

    events: Iterator[tuple[int, bytes]]
    ends: bool = False
    kind: int = 0
    body: bytes | None = None
    at: int = 0


class Events:
    """finished: the place after the last transaction that has ended. created: when the file at hand was begun, 0: not known.
    passing: up to this place everything was captured before, and only prepared transactions are of interest."""

    def __init__(
        self,
        scanner: LogScanner,
        tables: Tables,
        prepared: Prepared,
        charsets: Charsets,
        names: Names,
        finished: Callable[[], Place],
        *,
        mariadb: bool,
        passing: Place | None,
    ) -> None:
        self._scanner = scanner
        self._tables = tables
        self._prepared = prepared
        self._charsets = charsets
        self._names = names
        self._finished = finished
        self._mariadb = mariadb
        self._tasks: list[_Task] = []
        self.created = 0
        self.passing = passing
        self.started: Place | None = None
        """where the server was told to begin by GTID; it says when it is there, not where that is"""
        self.loose: list[str] = []
        """GTIDs of statements that may stand alone, without anything that says so"""

    @property
    def working(self) -> bool:
        """Whether a part of the event before is still to be done."""
        return bool(self._tasks)

    def work(self) -> tuple[int, list[Part]]:
        """Goes on with what is to be done; -> why it came back (`LogScanner.stop`), and what was found. Raises ValueError."""
        while self._tasks:
            task = self._tasks[-1]
            if task.body is None:
                following = next(task.events, None)
                if following is None:
                    self._tasks.pop()
                    if task.ends:
                        self._prepared.finished()
                        if self._scanner.finish():
                            return binlog.ENOUGH, []
                    continue
                task.kind, task.body = following
                task.at = 0
            body = task.body
            task.at = self._scanner.decode_event(task.kind, body, task.at)
            stop = self._scanner.stop
            if stop == binlog.FULL:
                return stop, []
            task.body = None
            parts = self.judged(stop, task.kind, body)
            if parts or stop == binlog.ENOUGH:
                return stop, parts
        return binlog.MORE, []

    def judged(self, stop: int, kind: int, body: bytes) -> list[Part]:
        """What becomes of an event. Raises ValueError, LogUnreadable, and what a Session raises."""
        if stop == binlog.PARTIAL:
            return self._tables.lose_id(self._scanner.event_table, _partial_image)
        if stop != binlog.EVENT:
            return []
        if self._prepared.keeping and kind not in (QUERY, COMPRESSED_QUERY, XA_PREPARE, ROTATE, FORMAT, *_SAYS_NOTHING):
            self._prepared.keep(kind, body)
            return []
        if kind == TABLE_MAP:
            return self._mapped(body)
        if kind in _ROWS or kind in _COMPRESSED_ROWS or kind == PARTIAL_UPDATE:
            return self._rows(kind, body)
        if kind == QUERY:
            return self._query(body)
        if kind == COMPRESSED_QUERY:
            return self._query(query_event.inflated(body))
        return self._other(kind, body)

    def _mapped(self, body: bytes) -> list[Part]:
        if self.passing is not None:
            self._scanner.register(int.from_bytes(body[:6], "little"), body, None)
            return []
        return self._tables.mapped(body)

    def _rows(self, kind: int, body: bytes) -> list[Part]:
        table_id = int.from_bytes(body[:6], "little")
        if not self._tables.again(table_id):
            raise ValueError(f"rows of table id {table_id}, of which the transaction says nothing")
        if kind == PARTIAL_UPDATE:
            return self._tables.lose_id(table_id, _partial_json)
        if kind in _COMPRESSED_ROWS:
            start = binlog.rows_at(kind, body)
            kind, body = _COMPRESSED_ROWS[kind], body[:start] + query_event.decompressed(body[start:])
        self._do([(kind, body)])
        return []

    def _query(self, body: bytes) -> list[Part]:
        query = query_event.parse(body, self._charsets)
        statement = statement_of(query, self._names)
        if self._prepared.keeping:
            if statement.does is not Does.XA_START:
                self._prepared.keep(QUERY, body)
            return []
        found = self._stated(statement)
        if self._ends(statement):
            if not self._scanner.in_transaction:  # a log without GTIDs
                self._scanner.begin("", self._scanner.event_timestamp * 1_000_000)
            self._scanner.finish()
        return found

    def _stated(self, statement: Statement) -> list[Part]:
        does, name = statement.does, statement.name
        if does is Does.XA_START:
            self._prepare()
        elif does is Does.XA_COMMIT:
            return self._xa_commit(name)
        elif does is Does.XA_ROLLBACK:
            self._prepared.forget(name)
        elif self.passing is not None:
            pass
        elif does is Does.ROWS:
            return self._tables.lose(_in_statements(), statement.reason)
        elif does is Does.ROLLBACK:
            return self._tables.drop_open()
        elif does is Does.SAVEPOINT:
            self._tables.savepoint(name)
        elif does is Does.ROLLBACK_TO:
            return self._tables.rollback_to(name)
        elif does is Does.DEFINES and not self._is_half_of_an_alter():
            return self._tables.changed(statement)
        return []

    def _ends(self, statement: Statement) -> bool:
        """Whether the transaction is at its end with the statement."""
        if statement.does in (Does.COMMIT, Does.ROLLBACK, Does.XA_ROLLBACK, Does.XA_PREPARE):
            return True
        if statement.does in (Does.SAVEPOINT, Does.ROLLBACK_TO, Does.XA_START, Does.XA_COMMIT) or statement.goes_on:
            return False
        if self._mariadb and self._scanner.in_transaction:
            return bool(self._scanner.gtid_flags & _STANDS_ALONE)
        if statement.temporary:
            self.loose.append(self._scanner.gtid)
            return False
        return statement.does is not Does.ROWS or not self._scanner.in_transaction

    def _is_half_of_an_alter(self) -> bool:
        """MariaDB may log the beginning of an ALTER before its end, and whether it failed."""
        return self._mariadb and bool(self._scanner.gtid_flags & (_ALTER_BEGINS | _ALTER_IS_UNDONE))

    def _prepare(self) -> None:
        """An XA transaction's group begins: its events come one by one."""
        before = self._finished()
        if self._mariadb:  # the event at hand is the group's first
            before = Place(self._scanner.file, self._scanner.event_position, before.gtid, self.created)
        self._prepared.begin(before)
        self._tables.forget()

    def _xa_commit(self, name: str) -> list[Part]:
        if self.passing is not None:
            self._prepared.forget(name)
            self._scanner.finish()
            return []
        kept = self._prepared.committed(name)
        if kept is not None:
            self._do(kept, ends=True)
            return []
        found = self._tables.lose(
            LogGap(
                "an XA transaction committed whose changes stand before the place at which capture began",
                remedy="Take the tables anew: `forebay-agent snapshot STREAM --reason …`.",
            ),
            "XA COMMIT",
        )
        self._scanner.finish()
        return found

    def _other(self, kind: int, body: bytes) -> list[Part]:
        scanner = self._scanner
        if kind == MARIADB_GTID:
            if scanner.gtid_flags & _XA_PREPARES:
                self._prepare()
        elif kind == XA_PREPARE:
            self._prepared_now(body)
        elif kind == ROTATE:
            if scanner.event_flags & _ARTIFICIAL:
                scanner.set_file(body[8:].decode(), int.from_bytes(body[:8], "little"))
                self.created = 0
        elif kind == FORMAT:
            return self._begun()
        elif kind == PAYLOAD:
            self._do(payload.events(body))
        elif kind == INCIDENT:
            return self._tables.lose(_incident(), "")
        elif kind in _LOADS:
            return [] if self.passing is not None else self._tables.lose(_in_statements(), "LOAD DATA")
        elif kind == GTID_LIST and scanner.event_flags & _ARTIFICIAL and self.started is not None:
            scanner.set_file(self.started.file, self.started.offset)
        elif kind not in _SAYS_NOTHING and not scanner.event_flags & _MAY_BE_IGNORED:
            raise ValueError(f"an event of unknown type {kind}")
        return []

    def _prepared_now(self, body: bytes) -> None:
        at_once, name = prepare_event(body)
        if not self._prepared.keeping:
            raise ValueError("the end of a prepared transaction of which nothing was said before")
        if at_once:
            kept = self._prepared.at_once()
            if self.passing is None:
                self._do(kept, ends=True)
                return
        else:
            self._prepared.prepared(name)
        self._scanner.finish()

    def _begun(self) -> list[Part]:
        """A file begins, or is read from its midst on: ids of tables mean nothing any more."""
        self.created = self._scanner.event_timestamp
        found: list[Part] = []
        if self._scanner.in_transaction:  # the server stopped in its midst
            found = self._tables.drop_open()
            self._prepared.abandon()
            self._scanner.abandon()
        self._tables.forget()
        return found

    def _do(self, events: Iterable[tuple[int, bytes]], *, ends: bool = False) -> None:
        self._tasks.append(_Task(iter(events), ends))


def _in_statements() -> AgentError:
    return LogUnfit(
        "the server logged a statement instead of the rows that it changed: binlog_format was not ROW",
        remedy=_THEN,
        sql=_ROW_FORMAT,
    )


def _partial_image(table: TableName) -> AgentError:
    return LogUnfit(
        f"the log holds only some columns of changed rows of {table}: binlog_row_image was not FULL",
        remedy=_THEN,
        sql=_ROW_IMAGE,
    )


def _partial_json(table: TableName) -> AgentError:
    return LogUnfit(
        f"the log holds only parts of changed JSON of {table}: binlog_row_value_options was set",
        remedy=_THEN,
        sql=_WHOLE_JSON,
    )


def _incident() -> AgentError:
    return LogGap(
        "the server says that it lost a part of its log (an incident event)",
        remedy="Take the tables anew: `forebay-agent snapshot STREAM --reason …`.",
    )
