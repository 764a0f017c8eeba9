"""One followed table: its columns as the log tells of them, and the decoder that holds its rows.

    TABLE_MAP -> `adopt`: which of its columns are captured, as what, and whether that is still the stream's shape
    ALTER     -> `altered`: at once where the database can be asked, else by the next TABLE_MAP that names its columns
    rows      -> `take`

What cannot be told for certain makes the table LOST; nothing of its columns is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from forebay_agent.capture.log import EventKind, LogRows, LogTable, TableEvent
from forebay_agent.capture.mysql.log import rows, wire
from forebay_agent.capture.mysql.log.alter import Alteration
from forebay_agent.capture.mysql.log.charsets import Charsets
from forebay_agent.capture.mysql.log.checkpoint import Place
from forebay_agent.capture.mysql.log.definition import HASH_PREFIX, Definition
from forebay_agent.capture.mysql.log.table_map import LONGLONG, MappedColumn, TableMap
from forebay_agent.capture.mysql.log.verdict import verdict
from forebay_agent.capture.mysql.log.wire import PlannedColumn
from forebay_agent.capture.mysql.types import column_of
from forebay_agent.capture.source import Column, TableName, TableShape
from forebay_agent.errors import AgentError, LogUnfit, LogUnreadable, TableChanged, TableMisconfigured
from forebay_agent.kernel.binlog_table import TableDecoder

if TYPE_CHECKING:
    from forebay_agent.kernel.binlog_table import WireColumn

FULL_METADATA: Final = "SET GLOBAL binlog_row_metadata = 'FULL';"
TAKE_ANEW: Final = "take the table anew: `forebay-agent snapshot STREAM --reason …`"


class Lost(Exception):
    """A table cannot be followed any further. error: why, and what to do."""

    def __init__(self, error: AgentError, reason: str = "") -> None:
        super().__init__(str(error))
        self.error = error
        self.reason = reason or str(error)


class Catalogue(Protocol):
    """What the database says of tables now, and whether that holds for the place in the log that is being read."""

    def definition(self, table: TableName) -> tuple[Definition, Place]:
        """A table's definition, and a place that the log had not passed when it was asked for. Raises TableMissing, and what a
        Session raises."""

    def holds(self, table: TableName, until: Place) -> bool:
        """Whether no statement between here and there defines the table anew."""

    def key(self, table: TableName) -> tuple[str, ...]:
        """The key as the database has it now."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How one server's text is read. codec: of columns whose declared character set lies (`charset` of the source)."""

    charsets: Charsets
    codec: str
    mariadb: bool


class Followed:
    """shape: as the stream carries it. lost: it is passed over until it is followed anew."""

    def __init__(self, table: LogTable, catalogue: Catalogue, reading: Reading) -> None:
        self.table = table
        self.shape = table.shape
        self.lost = False
        self.decoder: TableDecoder | None = None
        self.transactional = True
        self.handed_in = -1
        """how many transactions had ended when rows of one that had not were taken last"""
        self._catalogue = catalogue
        self._reading = reading
        self._columns = {column.name: column for column in table.shape.columns}
        self._plan: list[PlannedColumn] = []
        self._map: TableMap | None = None
        self._definition: Definition | None = None
        self._until: Place | None = None  # the definition was that of this place
        self._checked = False  # and is that of the place being read
        self._nullable: dict[str, bool] = {}
        self._pending: Alteration | None = None
        self._pending_reason = ""
        self._own_key = True  # the key is the table's own, not one of the configuration

    def begin(self) -> None:
        """Asks the database for what the log will not say. Raises TableMissing, and what a Session raises."""
        self._definition, self._until = self._catalogue.definition(self.table.name)
        self._own_key = self._catalogue.key(self.table.name) == self.shape.key
        self.transactional = self._definition.transactional
        if self._definition.versioned:
            raise Lost(_versioned(self.table))

    def is_same(self, table: LogTable) -> bool:
        """Whether following goes on as it is; how the database names types may differ."""
        carried = [(column.name, column.arrow, column.carried) for column in self.shape.columns]
        return (
            (table.name, table.columns, table.excluded, table.as_text, table.shape.key)
            == (self.table.name, self.table.columns, self.table.excluded, self.table.as_text, self.shape.key)
        ) and carried == [(column.name, column.arrow, column.carried) for column in table.shape.columns]

    def take(self, position: str, finished: int, most: int | None = None) -> list[LogRows | TableEvent]:
        """Its rows so far; and that it is lost, where one of them cannot be carried. finished: how many transactions have
        ended. most: later rows were taken back."""
        decoder = self.decoder
        if decoder is None or not decoder.rows:
            return []
        if decoder.open_from < (decoder.rows if most is None else most):
            self.handed_in = finished
        found = rows.taken(self.shape, self._plan, decoder, self._reading.charsets, self._reading.codec)
        whole = found.rows if most is None else found.rows.slice(0, most)
        parts: list[LogRows | TableEvent] = []
        if whole.num_rows:
            parts.append(LogRows(self.table.name, self.shape, whole))
        if found.trouble is not None and (most is None or found.rows.num_rows < most):
            parts.append(self.lose(found.trouble, position))
        return parts

    def lose(self, error: AgentError, position: str, reason: str = "") -> TableEvent:
        """It is passed over from here on."""
        self.lost = True
        self.decoder = None
        return TableEvent(self.table.name, EventKind.LOST, position, reason or str(error), error=error)

    def fits(self, mapped: TableMap) -> bool:
        """Whether rows of this TABLE_MAP go into the decoder as it is."""
        return (
            self.decoder is not None
            and self._map is not None
            and self._pending is None
            and replace(mapped, table_id=0) == self._map
        )

    def adopt(self, mapped: TableMap, position: str) -> list[TableEvent]:
        """Makes a decoder for the rows that this TABLE_MAP announces. The rows of the one before were taken.

        Raises Lost.
        """
        names = self._names(mapped)
        columns: dict[str, Column] = {}
        for name, column in zip(names, mapped.columns, strict=False):
            if column.kind in wire.OLD_MOMENTS:
                self._refuse_untold(name, column)
            if self.table.wants(name):
                columns[name] = self._column(name, column, full=mapped.full)
        ordered = self._ordered(list(columns.values()))
        empty = {name: column.nullable for name, column in zip(names, mapped.columns, strict=False)}
        events = self._judged(ordered, empty, self._pending, self._key_by(mapped, names), position)
        self._pending = None
        self._columns = columns
        self._plan = []
        wires: list[WireColumn] = []
        for number, column in enumerate(mapped.columns):
            name = names[number] if number < len(names) else ""
            key = name in self.shape.key
            if name in columns:
                planned = self._planned(columns[name], column, key=key)
                self._plan.append(planned)
                wires.append(planned.wire)
            else:
                wires.append(wire.skipped(column, key=key))
        self._map = replace(mapped, table_id=0)
        self._nullable = empty
        self.decoder = self._decoder(wires)
        return events

    def altered(self, alteration: Alteration, reason: str, position: str) -> list[TableEvent]:
        """A statement altered the table. Raises Lost, TableMissing, and what a Session raises."""
        self._checked = False
        self._definition = None
        full = self._map is not None and self._map.full
        if not full:
            self.decoder = None  # other columns may look the same
        captured = {column.name.lower() for column in self.shape.columns}
        added = {name for name in alteration.added if self.table.wants(name)}
        quiet = not (alteration.content or alteration.everything or alteration.key)
        if quiet and self._pending is None and not (alteration.touched & captured or added):
            return []
        alteration = alteration if self._pending is None else self._pending.joined(alteration)
        definition = self._known()
        if definition is None:
            if self._map is not None and not full:
                raise Lost(_not_described(self.table, "was altered, and altered again after that"), reason)
            self._pending, self._pending_reason = alteration, reason
            return []
        columns = [
            self._defined(column.name, column.origin) for column in definition.columns if self.table.wants(column.name)
        ]
        empty = {column.name: column.empty_before for column in definition.columns}
        key = self._catalogue.key(self.table.name) if self._own_key else self.shape.key
        self._pending_reason = reason
        events = self._judged(self._ordered(columns), empty, alteration, key, position)
        self._pending = None
        self._columns = {column.name: column for column in columns}
        return events

    def _judged(
        self,
        columns: Sequence[Column],
        empty: dict[str, bool],
        alteration: Alteration | None,
        key: tuple[str, ...],
        position: str,
    ) -> list[TableEvent]:
        kind = verdict(self.shape.columns, columns, alteration, self._nullable, empty)
        if key != self.shape.key:
            kind = EventKind.ALTERED
        if kind is None:
            return []
        missing = [name for name in key if name not in {column.name for column in columns}]
        if missing:
            raise Lost(TableChanged(f"{self.table.name}: key column {missing[0]} is no longer captured"))
        reason = self._pending_reason if alteration is not None else ""
        if not reason:
            then, now = ({column.name for column in each} for each in (self.shape.columns, columns))
            changed = ", ".join(sorted(then ^ now)) or "types changed"
            reason = f"the log describes the table otherwise than it is known: {changed}"
        self.shape = TableShape(self.shape.table, tuple(columns), key, self.shape.identity)
        self.table = replace(self.table, shape=self.shape)
        return [TableEvent(self.table.name, kind, position, reason, shape=self.shape)]

    def _ordered(self, columns: list[Column]) -> list[Column]:
        """As a shape has them: in the configuration's order where it names them, else in the table's."""
        if not self.table.columns:
            return columns
        return sorted(columns, key=lambda column: self.table.columns.index(column.name))

    def _names(self, mapped: TableMap) -> list[str]:
        """Names of the columns; hidden ones at the end are left out. Raises Lost."""
        if mapped.full:
            names = [column.name or "" for column in mapped.columns]
            known = self._definition is not None and self._definition.column(names[-1]) is not None
            while names and names[-1].startswith(HASH_PREFIX) and not known:
                names.pop()
            return names
        definition = self._known()
        if definition is None:
            raise Lost(_not_described(self.table, "was altered between here and the log's end"))
        extra = len(mapped.columns) - len(definition.columns)
        hidden = mapped.columns[len(definition.columns) :]
        if extra != definition.hashes or any(column.kind != LONGLONG for column in hidden):
            raise Lost(
                _not_described(
                    self.table, f"has {len(definition.columns)} columns, but {len(mapped.columns)} in the log"
                )
            )
        return [column.name for column in definition.columns]

    def _known(self) -> Definition | None:
        """The table's definition at the place being read, where it can be known. Asks the database where it has to."""
        if not self._checked:
            if self._definition is None or self._until is None:
                self._definition, self._until = self._catalogue.definition(self.table.name)
            self._checked = self._catalogue.holds(self.table.name, self._until)
            if not self._checked:
                self._definition = None
        return self._definition

    def _column(self, name: str, mapped: MappedColumn, *, full: bool) -> Column:
        """What a column of the log is carried as. Raises Lost."""
        charsets = self._reading.charsets
        known = self._columns.get(name)
        ambiguous = wire.is_ambiguous(mapped)
        if ambiguous and self._known() is None:
            raise Lost(_not_described(self.table, f"was altered, and the log does not tell what {name} is"))
        if known is not None and full and not ambiguous and wire.fits(known.origin, mapped, charsets):
            return known
        defined = self._definition.column(name) if self._definition is not None else None
        if defined is not None and (full or self._checked) and wire.fits(defined.origin, mapped, charsets):
            return self._defined(name, defined.origin)
        origin = wire.origin_of(mapped, charsets) if full else None
        if origin is None or ambiguous:
            raise Lost(_not_described(self.table, f"has a column {name} that is not of the type known"))
        return self._defined(name, origin)

    def _refuse_untold(self, name: str, mapped: MappedColumn) -> None:
        """Raises Lost where the log does not tell how long a column's values are, captured or not."""
        definition = self._known()
        defined = definition.column(name) if definition is not None else None
        if defined is None:
            raise Lost(_not_described(self.table, f"was altered, and the log does not tell what {name} is"))
        try:
            wire.refuse_untold(name, defined.origin, mapped)
        except TableMisconfigured as error:
            raise Lost(error) from None

    def _defined(self, name: str, origin: str) -> Column:
        return column_of(name, origin, as_text=name in self.table.as_text)

    def _planned(self, column: Column, mapped: MappedColumn, *, key: bool) -> PlannedColumn:
        try:
            return wire.planned(column, mapped, key=key, charsets=self._reading.charsets, codec=self._reading.codec)
        except TableMisconfigured as error:
            raise Lost(error) from None
        except (ValueError, KeyError) as error:
            raise Lost(TableMisconfigured(f"{self.table.name}: column {column.name}: {error}", key="columns")) from None

    def _decoder(self, wires: list[WireColumn]) -> TableDecoder:
        try:
            return TableDecoder(wires)
        except ValueError as error:
            raise Lost(LogUnreadable(f"{self.table.name}: {error}")) from None

    def _key_by(self, mapped: TableMap, names: list[str]) -> tuple[str, ...]:
        """The key at this place, as far as the log tells."""
        if not self._own_key or mapped.key is None or self._pending is None or not self._pending.key:
            return self.shape.key
        return tuple(names[number] for number in mapped.key if number < len(names))


def _not_described(table: LogTable, what: str) -> LogUnfit:
    return LogUnfit(
        f"{table.name} {what}; the log does not name its columns (binlog_row_metadata is not FULL)",
        remedy=f"Ask the DBA to run this, then {TAKE_ANEW}.",
        sql=FULL_METADATA,
    )


def _versioned(table: LogTable) -> LogUnfit:
    return LogUnfit(
        f"{table.name} is system-versioned: the log holds its old versions as rows of their own",
        remedy="Capture the table in mode trigger or cursor.",
    )
