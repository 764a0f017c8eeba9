"""One followed table: its decoder, its shape, and what is known of it; its rows as they were decoded, or why they cannot be."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from forebay_agent.capture.log import EventKind, LogRows, LogTable, TableEvent
from forebay_agent.capture.postgresql import decoding
from forebay_agent.capture.postgresql.carrying import TEXT, bare
from forebay_agent.capture.postgresql.log.checkpoint import Known, lsn_of
from forebay_agent.capture.postgresql.log.relation import RelationMessage
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.source import Column, TableName, TableShape
from forebay_agent.errors import AgentError, LogUnfit, ValueUnrepresentable
from forebay_agent.kernel.pgoutput import AS_SENT, TRUE_FALSE, WITH_NETMASK, TableDecoder
from forebay_wire.columns import ABSENT, CHANGE_FIELDS, COMMITTED_AT, OP, POSITION, Op

_FORMS: Final = {"boolean": TRUE_FALSE, "inet": WITH_NETMASK}


@dataclass(slots=True)
class Followed:
    """really: its name with its schema. shape: what its stream carries. message: the last Relation message. decoder: for that
    message's columns, as `decoding`; None before the first message.

    Until the log has passed `known.unsure`: exposed: rows that come would be taken for later than what is known of older
    ones; so not where the table is read anew, and no part of it was read yet. rows_came: while it was exposed.

    doubt: what the catalogue said, which the log had not told when it had come that far; None: nothing."""

    table: LogTable
    oid: int
    really: TableName
    shape: TableShape
    known: Known
    message: RelationMessage | None = None
    decoder: TableDecoder | None = None
    decoding: TableShape | None = None
    exposed: bool = True
    rows_came: bool = True
    doubt: tuple[int, Known] | None = None

    def decode(self, message: RelationMessage, shape: TableShape) -> TableDecoder:
        """From here on: rows as this message says, as this shape. What the last decoder held must have been taken.

        Raises LogUnfit when the key is not told of deleted rows."""
        if unfit := _key_unfit(message, shape):
            raise unfit
        if self.message is None or self.decoder is None or (self.message, self.decoding) != (message, shape):
            self.decoder = _decoder(message, shape)
        self.message, self.decoding = message, shape
        return self.decoder

    def take(self, session: Callable[[], Session]) -> list[LogRows | TableEvent]:
        """The rows decoded since the last call. Ends with LOST when one of them cannot be carried. Begins with ALTERED when
        they come in another form than the stream has, which was seen only in a Relation message of before."""
        decoder, shape = self.decoder, self.decoding
        if decoder is None or shape is None or not decoder.rows:
            return []
        unfit, absent = decoder.unfit, decoder.absent
        batch = decoder.take()
        first = self._first(batch)
        lost: list[tuple[int, AgentError]] = []
        if unfit is not None and unfit[0] >= first:
            lost.append((unfit[0], decoding.unrepresentable(shape, batch, *unfit)))
        operations = batch.column(OP)
        moved = [(row, column) for row, column in absent if row >= first and operations[row].as_py() != Op.UPDATE]
        if moved:
            lost.append((moved[0][0], _moved_without(shape, batch, *moved[0])))
        end = min((row for row, _ in lost), default=batch.num_rows)
        rows = batch.slice(first, end - first)
        try:
            rows = _finished(session, shape, rows)
        except decoding.UndecodableColumn as error:
            lost.append((first + error.row, _undecodable(shape, rows, error)))
            rows = _finished(session, shape, rows.slice(0, error.row))
        self.rows_came = self.rows_came or (self.exposed and rows.num_rows > 0)
        parts: list[LogRows | TableEvent] = []
        if rows.num_rows and shape != self.shape:
            self.shape = shape
            position = str(rows.column(POSITION)[0].as_py())
            reason = "rows came as the table was before it was altered"
            parts.append(TableEvent(self.table.name, EventKind.ALTERED, position, reason, shape=shape))
        if rows.num_rows:
            parts.append(LogRows(self.table.name, shape, rows))
        if lost:
            row, error_of_row = min(lost, key=lambda each: each[0])
            position = str(batch.column(POSITION)[row].as_py())
            parts.append(
                TableEvent(self.table.name, EventKind.LOST, position, "a value cannot be carried", error=error_of_row)
            )
        return parts

    def _first(self, batch: pa.RecordBatch) -> int:
        """The first row that counts: rows come in order of commit."""
        if not self.known.since:
            return 0
        positions = batch.column(POSITION)
        if lsn_of(str(positions[0].as_py())) >= self.known.since:
            return 0
        return bisect_left(range(len(positions)), self.known.since, key=lambda row: lsn_of(str(positions[row].as_py())))

    def learn(self, known: Known, unsure: int = 0, *, read_anew: bool = False) -> None:
        """What the catalogue says now. unsure: some of it may stand in the log only up to there; 0: none of it.
        read_anew: so is the table."""
        if read_anew or not self.known.unsure:
            self.exposed, self.rows_came = not read_anew, False
        self.known = replace(known, since=self.known.since, unsure=max(unsure, self.known.unsure))
        self.doubt = None

    def copied(self) -> None:
        """A part of it was read, as it is now."""
        self.exposed = True

    def passed(self, lsn: int) -> bool:
        """The log was handed on up to here. Whether rows came that may be from before what was already seen."""
        if not self.known.unsure or lsn < self.known.unsure:
            return False
        self.known = replace(self.known, unsure=0)
        waiting = self.decoder is not None and self.decoder.rows > 0
        return self.rows_came or (self.exposed and waiting)


def _key_unfit(message: RelationMessage, shape: TableShape) -> LogUnfit | None:
    of_identity = {column.name for column in message.columns if column.of_identity}
    wanted = shape.key or tuple(column.name for column in shape.columns)
    missing = [name for name in wanted if name not in of_identity]
    if not missing:
        return None
    return LogUnfit(
        f"{shape.table}: its replica identity ({', '.join(sorted(of_identity))}) no longer holds {', '.join(missing)}: "
        "deletes could not be told",
        remedy="Undo the change, or ask the DBA for a replica identity that holds the key; then take the table anew.",
    )


def _decoder(message: RelationMessage, shape: TableShape) -> TableDecoder:
    names = [column.name for column in shape.columns]
    return TableDecoder(
        pa.schema([(column.name, column.arrow) for column in shape.columns]),
        [message.place(name) for name in names],
        len(message.columns),
        # without a key a row is known by all that it holds
        [names.index(name) for name in shape.key or names],
        [_form(column) for column in shape.columns],
    )


def _form(column: Column) -> int:
    return _FORMS.get(bare(column.origin), AS_SENT) if column.carried == TEXT else AS_SENT


def _finished(session: Callable[[], Session], shape: TableShape, rows: pa.RecordBatch) -> pa.RecordBatch:
    """As LogRows has them. Raises UndecodableColumn."""
    reading = session()
    if reading.charset is None and not reading.unchecked:
        return rows
    own = pa.schema([(column.name, column.arrow) for column in shape.columns])
    raw = [rows.column(number) for number in range(len(own))]
    if reading.charset is not None:
        raw = [each.cast(pa.binary()) if pa.types.is_string(each.type) else each for each in raw]
    columns = decoding.decoded(reading, raw, own, frozenset(shape.key))
    changes = [rows.column(name) for name in (OP, POSITION, COMMITTED_AT, ABSENT)]
    return pa.RecordBatch.from_arrays([*columns, *changes], schema=pa.schema([*own, *CHANGE_FIELDS]))


def _undecodable(shape: TableShape, rows: pa.RecordBatch, error: decoding.UndecodableColumn) -> ValueUnrepresentable:
    return decoding.undecodable(shape, rows, error.row, error.column)


def _moved_without(shape: TableShape, batch: pa.RecordBatch, row: int, column: int) -> LogUnfit:
    return LogUnfit(
        f"{shape.table}: {decoding.place(shape, batch, row)}: the row's key was changed, and the large value of column "
        f"{shape.columns[column].name} that went with it is not in the log",
        remedy="Ask the DBA for ALTER TABLE … REPLICA IDENTITY FULL; then take the table anew.",
    )
