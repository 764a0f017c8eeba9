"""All followed tables of one reader: which TABLE_MAP belongs to which, their rows, and what happens to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from forebay_agent.capture.log import EventKind, LogRows, LogTable, TableEvent
from forebay_agent.capture.mysql.log import table_map
from forebay_agent.capture.mysql.log.alter import UNKNOWN
from forebay_agent.capture.mysql.log.followed import Catalogue, Followed, Lost, Reading
from forebay_agent.capture.mysql.log.names import Names
from forebay_agent.capture.mysql.log.statements import Change, Effect, Statement
from forebay_agent.capture.source import TableName
from forebay_agent.errors import AgentError, LogUnfit, TableMissing, TableReplaced
from forebay_agent.kernel.binlog_table import TableDecoder

if TYPE_CHECKING:
    from forebay_agent.kernel.binlog import LogScanner

MOST_IDS: Final = 8192
"""table ids that are remembered at a time; the server gives a table another one whenever it opens it anew"""

_HANDED_ON: Final = -1

Part = LogRows | TableEvent


class Tables:
    """place: the position for people of the event that is being read."""

    def __init__(
        self,
        scanner: LogScanner,
        catalogue: Catalogue,
        reading: Reading,
        names: Names,
        place: Callable[[], str],
    ) -> None:
        self._scanner = scanner
        self._catalogue = catalogue
        self._reading = reading
        self._names = names
        self._place = place
        self._tables: dict[TableName, Followed] = {}
        self._ids: dict[int, tuple[TableName, bytes]] = {}
        self._savepoints: list[tuple[int, str, dict[Followed, int]]] = []

    def follow(self, tables: Sequence[LogTable]) -> list[Part]:
        """From here on these tables; -> those that cannot be followed. Raises what a Session raises."""
        parts: list[Part] = []
        followed: dict[TableName, Followed] = {}
        for table in tables:
            name = self._names.table(table.name.schema, table.name.name)
            before = self._tables.get(name)
            if before is not None and not before.lost and before.is_same(table):
                followed[name] = before
                continue
            one = followed[name] = Followed(table, self._catalogue, self._reading)
            try:
                one.begin()
            except TableMissing:
                pass  # dropped further on in the log, which will tell
            except Lost as lost:
                parts.append(one.lose(lost.error, self._place(), lost.reason))
        self._tables = followed
        # rows may come of what the transaction at hand has named; of everything else a TABLE_MAP comes first, and what it was
        # the last time says nothing of now
        named = self._scanner.named()
        self._ids = {table_id: known for table_id, known in self._ids.items() if table_id in named}
        self._scanner.forget()
        for table_id, (name, body) in list(self._ids.items()):
            if table_id in self._ids:  # looking at one may make others be forgotten
                parts += self._register(table_id, name, body)
        return parts

    def mapped(self, body: bytes) -> list[Part]:
        """A TABLE_MAP that the scanner does not know yet. Raises ValueError."""
        if len(self._ids) >= MOST_IDS:
            self._ids = {table_id: self._ids[table_id] for table_id in list(self._ids)[MOST_IDS // 2 :]}
            self._scanner.forget()
        table_id = int.from_bytes(body[:6], "little")
        name = self._names.table(*table_map.name_of(body))
        self._ids.pop(table_id, None)
        self._ids[table_id] = (name, body)
        return self._register(table_id, name, body)

    def again(self, table_id: int) -> bool:
        """The scanner was made to forget a TABLE_MAP that it had seen in this transaction; whether it was there."""
        if table_id not in self._ids:
            return False
        name, body = self._ids[table_id]
        followed = self._tables.get(name)
        self._scanner.register(table_id, body, None if followed is None or followed.lost else followed.decoder)
        return True

    def forget(self) -> None:
        """Every TABLE_MAP is looked at anew."""
        self._ids.clear()
        self._scanner.forget()

    def take(self) -> list[Part]:
        """All rows so far, table by table."""
        parts: list[Part] = []
        for followed in self._tables.values():
            for _, _, counts in self._savepoints:
                rows = 0 if followed.decoder is None else followed.decoder.rows
                counts[followed] = 0 if 0 <= rows <= counts.get(followed, 0) else _HANDED_ON
            found = followed.take(self._place(), self._scanner.finished)
            parts += found
            if followed.lost and found:
                self._pass_over(followed)
        return parts

    def lose(self, error: AgentError, reason: str, tables: Iterable[Followed] | None = None) -> list[Part]:
        """These tables, or all; their rows so far come first."""
        parts = self.take()
        for followed in list(self._tables.values() if tables is None else tables):
            if not followed.lost:
                parts.append(followed.lose(error, self._place(), reason))
                self._pass_over(followed)
        return parts

    def lose_id(self, table_id: int, error: Callable[[TableName], AgentError]) -> list[Part]:
        """The table that an id stands for."""
        name, body = self._ids.get(table_id, (None, b""))
        followed = self._tables.get(name) if name is not None else None
        if followed is None or followed.lost:
            if name is not None:
                self._scanner.register(table_id, body, None)
            return []
        return self.lose(error(followed.table.name), "", [followed])

    def changed(self, statement: Statement) -> list[Part]:
        """A statement that defines tables. Raises what a Session raises."""
        parts: list[Part] = []
        for change in statement.changes:
            for followed in self._named(change.table):
                if followed.lost:
                    continue
                parts += self.take()
                parts += self._change(followed, change, statement.reason)
        return parts

    def drop_open(self) -> list[Part]:
        """The transaction was rolled back; rows of engines that cannot undo stay."""
        finished = self._scanner.finished
        undone = [followed for followed in self._tables.values() if followed.transactional and not followed.lost]
        for followed in undone:
            if followed.decoder is not None:
                followed.decoder.drop_open()
        handed = [followed for followed in undone if followed.handed_in == finished]
        return self.lose(_taken_back(), "ROLLBACK", handed) if handed else []

    def savepoint(self, name: str) -> None:
        """What stands before it is kept by `rollback_to`."""
        counts = {each: 0 if each.decoder is None else each.decoder.rows for each in self._tables.values()}
        self._savepoints = [each for each in self._savepoints if each[0] == self._scanner.finished]
        self._savepoints.append((self._scanner.finished, name, counts))

    def rollback_to(self, name: str) -> list[Part]:
        """Takes back the rows since a savepoint, of engines that can undo."""
        while self._savepoints and self._savepoints[-1][:2] != (self._scanner.finished, name):
            self._savepoints.pop()
        if not self._savepoints:
            return self.drop_open()
        counts = self._savepoints[-1][2]
        parts: list[Part] = []
        handed = []
        for followed, rows in counts.items():
            if not followed.transactional or followed.decoder is None:
                continue
            if rows == _HANDED_ON:
                handed.append(followed)
            elif rows < followed.decoder.rows:
                parts += followed.take(self._place(), self._scanner.finished, most=rows)
                for _, _, each in self._savepoints:
                    each[followed] = 0
        return [*parts, *self.lose(_taken_back(), f"ROLLBACK TO {name}", handed)] if handed else parts

    def _named(self, name: TableName) -> list[Followed]:
        if name.name:
            found = self._tables.get(name)
            return [] if found is None else [found]
        return [followed for key, followed in self._tables.items() if key.schema == name.schema]

    def _change(self, followed: Followed, change: Change, reason: str) -> list[Part]:
        name, place = followed.table.name, self._place()
        if change.effect is Effect.ALTER:
            try:
                found = followed.altered(change.alteration or UNKNOWN, reason, place)
                if followed.decoder is None:
                    self._ids = {
                        each: known for each, known in self._ids.items() if self._tables.get(known[0]) is not followed
                    }
                    self._scanner.forget()
                return [*found]
            except Lost as lost:
                error: AgentError = lost.error
            except TableMissing as missing:
                error = missing
        elif change.effect is Effect.TRUNCATE:
            return [TableEvent(name, EventKind.TRUNCATED, place, reason)]
        elif change.effect is Effect.DROP:
            error = TableMissing(f"{name} was dropped or renamed at {place}: {reason}")
        else:
            error = TableReplaced(f"{name} was replaced by another table at {place}: {reason}")
        event = followed.lose(error, place, reason)
        self._pass_over(followed)
        return [event]

    def _pass_over(self, followed: Followed) -> None:
        for table_id, (name, body) in self._ids.items():
            if self._tables.get(name) is followed:
                self._scanner.register(table_id, body, None)

    def _register(self, table_id: int, name: TableName, body: bytes) -> list[Part]:
        followed = self._tables.get(name)
        if followed is None or followed.lost:
            self._scanner.register(table_id, body, None)
            return []
        mapped = table_map.parse(body, mariadb=self._reading.mariadb)
        parts: list[Part] = []
        decoder: TableDecoder | None = followed.decoder
        if not followed.fits(mapped):
            parts += followed.take(self._place(), self._scanner.finished)
            try:
                if not followed.lost:
                    parts += followed.adopt(mapped, self._place())
            except Lost as lost:
                parts.append(followed.lose(lost.error, self._place(), lost.reason))
            except TableMissing as missing:
                parts.append(followed.lose(missing, self._place()))
            decoder = followed.decoder
            # ids of the columns before: should the server use them again, their TABLE_MAP is looked at again
            self._ids = {each: known for each, known in self._ids.items() if each == table_id or known[0] != name}
            self._scanner.forget()
        self._scanner.register(table_id, body, decoder)
        return parts


def _taken_back() -> LogUnfit:
    return LogUnfit(
        "a transaction took changes back after a part of it was handed on (tables of engines with and without "
        "transactions are changed together in it)",
        remedy="Take the tables anew: `forebay-agent snapshot STREAM --reason …`; let such work change fewer rows at once.",
    )
