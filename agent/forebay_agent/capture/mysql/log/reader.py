"""MySQLLogReader: one replication connection, and the pieces that are made of what it brings.

packets -> scanner (kernel) -> rows in the tables' decoders
                            -> events that need judgement -> `events` -> table events, tasks
`read` goes on until a transaction's end with enough rows, or its time; what the decoders hold then is the piece
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from forebay_agent.capture.log import LogPiece, LogTable, TableEvent
from forebay_agent.capture.mysql.log.charsets import Charsets
from forebay_agent.capture.mysql.log.checkpoint import LogCheckpoint, Place, number_of, shown
from forebay_agent.capture.mysql.log.connection import LogConnection
from forebay_agent.capture.mysql.log.events import Events
from forebay_agent.capture.mysql.log.followed import Reading
from forebay_agent.capture.mysql.log.gtids import Executed, advanced
from forebay_agent.capture.mysql.log.lookahead import Lookahead
from forebay_agent.capture.mysql.log.names import Names
from forebay_agent.capture.mysql.log.opening import begun_anew, opened_at
from forebay_agent.capture.mysql.log.prepared import Prepared, Spilled
from forebay_agent.capture.mysql.log.server import LogServer
from forebay_agent.capture.mysql.log.tables import Part, Tables
from forebay_agent.capture.mysql.session import Session
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import AgentError, LogUnreadable, SourceUnreachable
from forebay_agent.kernel import binlog

_MOST_ROWS: Final = 100_000
_MOST_BYTES: Final = 32 << 20
_FIRST_EVENT_SECONDS: Final = 30.0
_MOST_OFFSET: Final = 0xFFFF_FFFF
_GRACE_SECONDS: Final = 0.25  # for the rest of a transaction: the server sends it in one go
_LOG_TROUBLE: Final = 1236


class MySQLLogReader:
    """Implements `LogReader`. checkpoint: where it was opened."""

    def __init__(
        self,
        config: SourceConfig,
        session: Session,
        server: LogServer,
        codec: str,
        tables: Sequence[LogTable],
        checkpoint: str | None,
        spill: Callable[[], Spilled],
    ) -> None:
        """session: for what has to be asked meanwhile; the caller closes it. See `LogSource.open_log` for what is raised."""
        self._server = server
        self._opened = opened_at(server, checkpoint)
        self._start = self._opened.start
        self._gtid = self._start.gtid
        self._handed: tuple[int, int] = (0, 0)
        self._told = self._opened.place  # of the last piece
        self._finished_before = 0
        self._parts: list[Part] = []
        self._limits = (0, 0)
        self._scanner = binlog.LogScanner()
        charsets = Charsets(session)
        names = Names(session.database, lower=server.setting("lower_case_table_names") != "0")
        self._prepared = Prepared(spill)
        lookahead = Lookahead(config, server, charsets, names, self._places)
        self._tables = Tables(
            self._scanner, lookahead, Reading(charsets, codec, server.mariadb), names, lambda: self._position
        )
        passing = self._opened.place if self._opened.prepared is not None else None
        self._events = Events(
            self._scanner,
            self._tables,
            self._prepared,
            charsets,
            names,
            self._finished,
            mariadb=server.mariadb,
            passing=passing,
        )
        # what the scanner reads by itself may not run past the place at which reading begins anew
        self._scanner.each_end = passing is not None
        self._connection = LogConnection(config, mariadb=server.mariadb)
        try:
            self._begin()
            self._parts += self._tables.follow(tables)
        except BaseException:
            self.close()
            raise
        self.checkpoint = self._opened.text()

    def read(self, until: float, *, rows: int, size: int) -> LogPiece | None:
        """See `LogReader.read`."""
        if (rows, size) != self._limits:
            self._limits = rows, size
            self._scanner.limits(rows, size, max(rows, _MOST_ROWS), max(size, _MOST_BYTES))
        try:
            while not self._parts:
                latest = until + _GRACE_SECONDS * self._is_open
                stop, parts = self._step(latest)
                self._parts += parts
                enough = stop == binlog.ENOUGH and self._events.passing is None
                if enough or stop in (None, binlog.FULL) or time.monotonic() >= latest:
                    break
            return self._piece()
        except (ValueError, OverflowError) as error:
            raise self._unreadable(error) from error

    def wait(self, seconds: float) -> bool:
        """See `LogReader.wait`."""
        return bool(self._parts) or self._events.working or self._connection.wait(seconds)

    def follow(self, tables: Sequence[LogTable]) -> None:
        """See `LogReader.follow`."""
        self._parts += self._tables.follow(tables)

    def reached(self, checkpoint: str) -> bool:
        """See `LogReader.reached`."""
        return self._handed >= LogCheckpoint.parse(checkpoint).place.order

    @property
    def handed_on(self) -> Place:
        """The end of what was handed on so far, and the transactions that are in it."""
        if self._events.passing is not None:
            return self._opened.place
        return replace(self._here(), gtid=self._state())

    def acknowledge(self, checkpoint: str) -> None:
        """The server keeps its log for as long as it is told to, whoever reads it."""

    def close(self) -> None:
        """See `LogReader.close`."""
        self._connection.close()
        self._prepared.close()

    def _begin(self) -> None:
        """Asks for the log and reads up to its first file's beginning, so that a refusal is told now."""
        start, executed = self._start, None
        if self._server.by_gtid and start.gtid:
            executed = Executed(start.gtid).encoded()
        elif start.offset > _MOST_OFFSET:
            self._connection.go_on_after(start.gtid)
            self._events.started = start
        self._connection.start(start, executed)
        self._scanner.set_file(start.file, start.offset)
        until = time.monotonic() + _FIRST_EVENT_SECONDS
        try:
            while not self._events.created:
                if self._step(until)[0] is None:
                    raise SourceUnreachable(f"reading the log at {self._connection.where}: it sends nothing")
        except (ValueError, OverflowError) as error:
            raise self._unreadable(error) from error
        if executed is None and start.created and self._events.created != start.created:
            raise begun_anew(self._server, start, f"its file {start.file} was begun at another time")
        if self._events.passing is None:
            self._opened = self._opened.at(replace(start, created=self._events.created), None)
        self._handed = self._scanner_order()

    def _step(self, until: float) -> tuple[int | None, list[Part]]:
        """One stop of the scanner; None: its time is over, and nothing more has come. Raises ValueError."""
        scanner, events = self._scanner, self._events
        if events.working:
            return events.work()
        self._connection.feed(scanner)
        stop = scanner.stop
        if stop in (binlog.ENDED, binlog.REFUSED):
            raise self._refused(scanner.error)
        parts = events.judged(stop, scanner.event_type, scanner.event)
        if events.passing is not None:
            self._pass_on()
        if stop == binlog.MORE and not self._connection.receive(scanner.wanted, until):
            return None, []
        return stop, parts

    def _pass_on(self) -> None:
        """Up to the checkpoint everything was captured before; behind it tables are looked at."""
        passing = self._events.passing
        if passing is not None and self._scanner_order() >= passing.order and not self._scanner.in_transaction:
            self._events.passing = None
            self._scanner.each_end = False
            self._tables.forget()

    def _piece(self) -> LogPiece | None:
        """What has come since the last piece."""
        parts, self._parts = self._parts, []
        events = [part for part in parts if isinstance(part, TableEvent)]
        parts = [*parts, *self._tables.take()] if not events else [*self._before(parts)]
        scanner = self._scanner
        finished = scanner.finished
        moved, self._finished_before = finished != self._finished_before, finished
        if not self._events.working:
            self._handed = max(self._handed, self._scanner_order(), self._heartbeat())
        place = self._told if self._events.passing is not None else self._finished()
        if not (parts or moved or place.file != self._told.file):
            return None
        self._told = place
        committed_at = scanner.finished_committed_at_us if moved else scanner.committed_at_us
        return LogPiece(
            tuple(parts),
            self._opened.at(place, self._prepared.oldest).text(),
            str(place),
            open=self._is_open,
            committed_at_us=committed_at,
        )

    def _before(self, parts: list[Part]) -> list[Part]:
        """Rows of the other tables come before an event; what was found with it is in order."""
        first = next(number for number, part in enumerate(parts) if isinstance(part, TableEvent))
        return [*parts[:first], *self._tables.take(), *parts[first:]]

    def _finished(self) -> Place:
        """The end of the last transaction, or of what stands behind it and is in none."""
        scanner = self._scanner
        if scanner.in_transaction or self._events.working or not scanner.file:
            file, offset = scanner.finished_at
            created = self._events.created if file == scanner.file else 0
            return Place(file or self._start.file, offset or self._start.offset, self._state(), created)
        return replace(self._here(), gtid=self._state())

    def _here(self) -> Place:
        return Place(self._scanner.file, self._scanner.position, self._gtid, self._events.created)

    def _state(self) -> str:
        """GTIDs of all transactions that have ended."""
        ended = self._scanner.take_gtids()
        loose = self._events.loose
        if loose and loose[0] != self._scanner.gtid:
            ended.append(loose.pop(0))
        if ended:
            self._gtid = advanced(self._server.mariadb, self._gtid, ended)
        return self._gtid

    @property
    def _is_open(self) -> bool:
        """Rows were read of a transaction that is not at its end."""
        return self._scanner.in_transaction and self._scanner.open_rows > 0

    def _places(self) -> tuple[tuple[int, int], Place]:
        return self._scanner_order(), self._finished()

    def _scanner_order(self) -> tuple[int, int]:
        return number_of(self._scanner.file), self._scanner.position

    def _heartbeat(self) -> tuple[int, int]:
        file, offset = self._scanner.heartbeat_at
        return (number_of(file), offset) if file else (0, 0)

    @property
    def _position(self) -> str:
        scanner = self._scanner
        return shown(scanner.gtid, scanner.file, scanner.event_position or scanner.position)

    def _refused(self, packet: bytes | None) -> AgentError:
        """The server's last word."""
        if packet is None:
            return SourceUnreachable(f"reading the log at {self._connection.where}: the server ended it")
        error = self._connection.refused(packet)
        if int.from_bytes(packet[1:3], "little") != _LOG_TROUBLE:
            return error
        opened_at(self._server, self._opened.at(self._told, self._prepared.oldest).text())
        return LogUnreadable(
            f"{error} (after {self._told})",
            remedy="Read the server's reason above: another replica may have the same server id. If the log is damaged, take "
            "the tables anew: `forebay-agent snapshot STREAM --reason …`.",
        )

    def _unreadable(self, error: Exception) -> LogUnreadable:
        return LogUnreadable(f"the log at {self._connection.where}, at {self._position}: {error}")
