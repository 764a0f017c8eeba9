"""The contract between a database's log and log capture.

A dialect that offers mode log implements `LogSource` beside `Source`, and a `LogReader` that speaks its replication
protocol. What is captured of it, and when, is decided by `forebay_agent.log.pipeline` and `capture.chunks`, which know no
database. All of it is used by the source's one thread.

Two texts say where something stands. A *log checkpoint* is the dialect's own and opaque to all others: a reader opened at
it hands on everything after it, once. A *position* is for people and travels with each row: `0-1-42@binlog.000003:4711`,
`0/16B3748`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeGuard

import pyarrow as pa

from forebay_agent.capture.source import Finding, RowRange, Source, TableName, TableShape
from forebay_agent.errors import AgentError


@dataclass(frozen=True, slots=True)
class LogTable:
    """A table that is followed.

    shape: its captured columns and key, as its stream carries them now. columns: those that the configuration names; empty:
    all that are not in `excluded`, added ones too. as_text: columns carried as text by choice.
    """

    name: TableName
    shape: TableShape
    columns: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    as_text: frozenset[str] = frozenset()

    def wants(self, column: str) -> bool:
        """Whether a column of this name is captured."""
        return column in self.columns if self.columns else column not in self.excluded


@dataclass(frozen=True, slots=True)
class LogRows:
    """Changes of one table in log order. rows: `shape`'s columns, then `forebay_wire.columns.CHANGE_FIELDS`, with their types
    (fields need no metadata). A changed key is two rows: `d` with the old image and `c` with the new one."""

    table: TableName
    shape: TableShape
    rows: pa.RecordBatch


class EventKind(StrEnum):
    """GREW: captured columns were added, and rows written before hold NULL in them; `shape` is the new one.
    ALTERED: captured columns, or what older rows hold in them, changed in any other way; `shape` is the new one, and what
    follows has it. The table has to be read anew.
    TRUNCATED: the table is empty from here on.
    LOST: its changes cannot be followed from here on; `error` says why and what to do."""

    GREW = "grew"
    ALTERED = "altered"
    TRUNCATED = "truncated"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class TableEvent:
    """Something that happened to a followed table, where it stands in the log. After LOST the reader hands on nothing of the
    table until `follow` names it again. reason: the statement or what was seen, bounded, without values."""

    table: TableName
    kind: EventKind
    position: str
    reason: str
    shape: TableShape | None = None
    error: AgentError | None = None


@dataclass(frozen=True, slots=True)
class LogPiece:
    """What the log holds from where the last piece ended.

    parts: in log order table by table. checkpoint, position: the end of the last whole transaction that all pieces so far
    hold (of the piece before, when this one holds no transaction's end). open: rows after that belong to a transaction whose
    end is not in this piece; it did commit, unless an error of the reader ends the session. committed_at_us: when the
    database committed the last change in the piece, 0 when it does not say. messages: what canaries wrote to the log
    (`capture.canary`), this source's and others'.
    """

    parts: tuple[LogRows | TableEvent, ...]
    checkpoint: str
    position: str
    open: bool = False
    committed_at_us: int = 0
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the database will keep what was not captured yet. hours_left: None when it keeps it for as long as needed, or
    cannot tell; 0.0: it may be gone now. bytes_behind: from what is durable here to the log's end."""

    hours_left: float | None
    bytes_behind: int
    reason: str = ""


class LogReader(Protocol):
    """One replication connection. Every method raises kinds of `forebay_agent.errors`; after an error it is only closed."""

    checkpoint: str
    """Where it was opened; the caller keeps it before it reads, so that a start at the log's end is never lost."""

    def read(self, until: float, *, rows: int, size: int) -> LogPiece | None:
        """What comes next, at latest at `until` on the monotonic clock; None when nothing came, not even an end of other
        tables' transactions. Ends early, at a transaction's end where one comes in time, once it holds about `rows` rows of one
        table or `size` bytes of Arrow, and right after a TableEvent. Decoding runs without the interpreter's lock.

        Raises: LogGap, LogUnreadable (malformed: with the position), SourceUnreachable, SourceError.
        """

    def wait(self, seconds: float) -> bool:
        """Returns when anything comes, or after that time; whether there is a reason to read. To be called where the `read`
        before it gave nothing. Raises as `read`."""

    def follow(self, tables: Sequence[LogTable]) -> None:
        """From here on these tables are handed on, with these shapes, and no others."""

    def reached(self, checkpoint: str) -> bool:
        """Whether everything up to this log checkpoint was handed on (`LogSource.log_end` gave it). Never blocks for long."""

    def acknowledge(self, checkpoint: str) -> None:
        """Everything up to here is durable in the outbox: the database may forget it. Cheap; called often."""

    def close(self) -> None:
        """Ends the connection; never raises."""


class LogSource(Source, Protocol):
    """A Source whose log can be read."""

    def open_log(self, tables: Sequence[LogTable], checkpoint: str | None) -> LogReader:
        """A reader at a log checkpoint; None: at the log's end as it is now (makes slot and publication where they are the
        agent's to make).

        Raises: LogGap (what the checkpoint asks for is gone, or was never this server's: from X to Y), SourceReplaced
        (another server), PrivilegeMissing (with the SQL), LogUnfit (the server's settings: with the SQL that cures it).
        """

    def log_end(self) -> str:
        """A log checkpoint at or after everything that a read which has ended by now could see."""

    def read_chunk(self, shape: TableShape, rows: RowRange, reader: LogReader) -> Iterator[pa.RecordBatch]:
        """As `read`, all of it from one snapshot of the database that holds everything that `reader` has handed on so far
        (a log may tell of a commit before others can see it). Writes nothing."""

    def retention(self, checkpoint: str) -> Retention:
        """How long what comes after this log checkpoint is kept."""

    def examine_log(self, tables: Sequence[LogTable]) -> list[Finding]:
        """What `check` says of the log: settings, privileges, slot, publication, row image, metadata, retention, and the
        statements that a DBA would run; per table, what the log cannot carry (generated columns, replica identity)."""


def offers_log(source: Source) -> TypeGuard[LogSource]:
    """Whether the database's log can be read."""
    return hasattr(source, "open_log")
