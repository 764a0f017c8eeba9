"""The contract with a big-data platform: everything that knows one implements `Platform`.

Per stream a platform keeps two tables: an append-only history (`…_changes`) and, when the table has a key, a mirror of
its current rows. **The platform's own commit carries the stream's mark**, so that after a crash between load and ledger
the platform itself says what it holds. One contract suite, `tests/contract/test_platform.py`, is passed by each.

History columns: the table's columns, then `columns.CHANGE_FIELDS`, then `_epoch` (int32), `_seq` (int64), `_row` (int32).
Mirror columns: the table's columns, then `_position`, `_committed_at`, `_epoch`, `_seq`. In the mirror the highest
(epoch, seq, row) of a key wins; a delete removes the key; an absent column keeps the value that the mirror has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from forebay_wire.schema import TableSchema
from forebay_wire.stream import StreamName


@dataclass(frozen=True, slots=True, order=True)
class PlatformMark:
    """Everything of the stream up to (epoch, seq) is in the platform. (0, 0): nothing."""

    epoch: int = 0
    seq: int = 0


@dataclass(frozen=True, slots=True)
class OpenedBatch:
    """A batch, opened: its rows (of `schema.arrow`) and what its header says that the load must know."""

    epoch: int
    seq: int
    schema: TableSchema
    rows: pa.RecordBatch
    snapshot: int = 0
    last_of_snapshot: bool = False


@dataclass(frozen=True, slots=True)
class PlatformTable:
    """A table of the platform, for listings and for `sql`."""

    stream: StreamName
    name: str  # as people write it in `sql`: the unambiguous short name, else department.source.schema.table
    kind: str  # mirror, changes
    rows: int
    files: int
    bytes: int
    mark: PlatformMark


class PlatformError(Exception):
    """The platform cannot take a batch. `permanent`: trying again will not help (a type that cannot be changed, a value
    that does not fit); else a retry may (a full disk, a lost connection)."""

    def __init__(self, message: str, *, code: str, permanent: bool) -> None:
        super().__init__(message)
        self.code = code
        self.permanent = permanent


class QueryRefused(PlatformError):
    """A query that the platform does not answer: not one SELECT, an unknown name, a mistake, or too much memory."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="FB-PLATFORM-QUERY", permanent=True)


class Platform(Protocol):
    """A big-data platform. Used by one loader thread per stream; different streams may be loaded at the same time."""

    def mark(self, stream: StreamName) -> PlatformMark:
        """What the platform's own commits say that it holds of the stream: the lower of history and mirror."""

    def apply(self, stream: StreamName, batches: Sequence[OpenedBatch]) -> PlatformMark:
        """Loads consecutive batches, in order, as one commit of the history and one of the mirror, each with its mark;
        where a new epoch's snapshot ends or the key changes, what follows is a commit of its own.

        Batches at or below a table's own mark are passed over for that table, so that it may be called again after a
        crash or an unknown outcome at any point. Files are fsynced before the commit that names them.

        A batch of a higher epoch whose snapshot ends (`last_of_snapshot`) makes the mirror equal to that snapshot and
        what followed: rows of lower epochs that it did not name leave the mirror in the same commit.

        Additive schema changes (a new column, a wider type that Iceberg can promote) are applied. Raises PlatformError.
        """

    def maintain(self, stream: StreamName) -> bool:
        """Compaction and expiry where due, between loads, by the same thread; whether anything was done."""

    def read(self, stream: StreamName, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The mirror's current rows (the table's columns only, or those named), for verify."""

    def tables(self) -> list[PlatformTable]:
        """Every table of the platform."""

    def sql(self, query: str) -> pa.RecordBatchReader:
        """Answers one SELECT over the platform's tables as of now. Never writes. Raises QueryRefused, PlatformError."""

    def close(self) -> None:
        """Ends what it holds open."""
