"""What the database says of a table now, and whether the log says something else before its end.

The database describes a table as it is now; the log is read as it was. In between stands the rest of the log: a second, short
connection reads it to its end, looking at nothing but statements that define tables. How far it came is remembered.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Final

from forebay_agent.capture.mysql import describe
from forebay_agent.capture.mysql.log import query_event
from forebay_agent.capture.mysql.log.charsets import Charsets
from forebay_agent.capture.mysql.log.checkpoint import Place, number_of
from forebay_agent.capture.mysql.log.connection import LogConnection
from forebay_agent.capture.mysql.log.definition import Definition, definition_of
from forebay_agent.capture.mysql.log.events import COMPRESSED_QUERY, QUERY, ROTATE, TABLE_MAP
from forebay_agent.capture.mysql.log.names import Names
from forebay_agent.capture.mysql.log.server import LogServer
from forebay_agent.capture.mysql.log.statements import Does, statement_of
from forebay_agent.capture.source import TableName
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import LogUnreadable, SourceUnreachable
from forebay_agent.kernel import binlog

_ARTIFICIAL: Final = 0x20
_PATIENCE_SECONDS: Final = 60.0
_MOST_OFFSET: Final = 0xFFFF_FFFF


class Lookahead:
    """Implements `followed.Catalogue`. place: (after the event at hand, after the last transaction) of the reader."""

    def __init__(
        self,
        config: SourceConfig,
        server: LogServer,
        charsets: Charsets,
        names: Names,
        place: Callable[[], tuple[tuple[int, int], Place]],
    ) -> None:
        self._config = config
        self._server = server
        self._session = server.session
        self._charsets = charsets
        self._names = names
        self._place = place
        self._seen: Place | None = None
        # where statements stand that define a table; an empty name stands for all of a schema
        self._defined: dict[TableName, list[tuple[int, int]]] = {}

    def definition(self, table: TableName) -> tuple[Definition, Place]:
        definition = definition_of(self._session, table)
        return definition, self._server.end(exactly=False)

    def key(self, table: TableName) -> tuple[str, ...]:
        return describe.key_of(self._session, table)

    def holds(self, table: TableName, until: Place) -> bool:
        here, finished = self._place()
        if here >= until.order:
            return True
        if self._seen is None or self._seen.order < finished.order:
            self._seen = finished
            self._defined.clear()
        if self._seen.order < until.order:
            self._look(self._seen)
        name = self._names.table(table.schema, table.name)
        places = [*self._defined.get(name, ()), *self._defined.get(TableName(name.schema, ""), ())]
        return not any(here <= place < until.order for place in places)

    def _look(self, start: Place) -> None:
        """From a transaction's end to the log's."""
        if start.offset > _MOST_OFFSET:
            start = Place(start.file, 4)
        connection = LogConnection(self._config, mariadb=self._session.mariadb, purpose="lookahead")
        try:
            connection.start(start, to_the_end=True)
            scanner = binlog.LogScanner()
            while True:
                connection.feed(scanner)
                if scanner.stop == binlog.MORE:
                    if not connection.receive(scanner.wanted, time.monotonic() + _PATIENCE_SECONDS):
                        raise SourceUnreachable(f"{connection.where} does not send the rest of its log")
                elif scanner.stop == binlog.EVENT:
                    self._event(scanner)
                elif scanner.stop in (binlog.ENDED, binlog.REFUSED):
                    break
            if scanner.stop == binlog.REFUSED:
                raise connection.refused(scanner.error or b"")
            if scanner.file:
                self._seen = Place(scanner.file, scanner.position)
        except (ValueError, OverflowError) as error:
            raise LogUnreadable(f"looking ahead in the log at {connection.where}: {error}") from error
        finally:
            with contextlib.suppress(OSError):
                connection.close()

    def _event(self, scanner: binlog.LogScanner) -> None:
        kind, body = scanner.event_type, scanner.event
        if kind == TABLE_MAP:
            scanner.register(scanner.event_table, body, None)
        elif kind == ROTATE and scanner.event_flags & _ARTIFICIAL:
            scanner.set_file(body[8:].decode(), int.from_bytes(body[:8], "little"))
        elif kind in (QUERY, COMPRESSED_QUERY):
            query = query_event.parse(query_event.inflated(body) if kind == COMPRESSED_QUERY else body, self._charsets)
            statement = statement_of(query, self._names)
            if statement.does is Does.DEFINES:
                at = (number_of(scanner.file), scanner.event_position)
                for change in statement.changes:
                    self._defined.setdefault(change.table, []).append(at)
