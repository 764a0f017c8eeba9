"""The contract with a big-data platform: everything that knows one implements `Platform`.

Per stream a platform keeps two tables: an append-only history (`…_changes`) and, when the table has a key, a mirror of
its current rows. **The platform's own commit carries the stream's mark**, so that after a crash between load and ledger
the platform itself says what it holds. One contract suite, `tests/contract/test_platform.py`, is passed by each.

History columns: the table's columns, then `columns.CHANGE_FIELDS`, then `_epoch` (int32), `_seq` (int64), `_row` (int32).
Mirror columns: the table's columns, then `_position`, `_committed_at`, `_epoch`, `_seq`. In the mirror the highest
(epoch, seq, row) of a key wins; a delete removes the key; an absent column keeps the value that the mirror has.

**The mirror is shown at whole states only.** It is *held*, that is readers go on seeing it as it was, while

- a source transaction is not at its end (`ends_transaction` is false),
- the snapshot of an epoch above 1 is not at its end: then one commit makes the mirror that snapshot and what followed,
  with exactly the new epoch's columns and key, and nothing of older epochs,
- the snapshot of a key range is not at its end: then one commit shows the range as the snapshot found it, and what
  followed; rows of the range that were last told of before `first_seq`, and that it did not name, are gone.

What is held is in the platform all the same, durably and in bounded memory: the mark goes on, and nothing is loaded again
when it is shown. The first epoch's snapshot is shown as it grows. A new epoch lets go of what was held of the old one.

Columns: within an epoch they are only added, or widened. A new epoch may drop, rename and retype them. The history keeps
every value ever loaded: a column whose type cannot become the new one goes on as `<name>__epoch_<n>`, n the last epoch
before, and the new one takes the name; a dropped column is NULL from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import pyarrow as pa

from forebay_wire.key_range import KeyRange
from forebay_wire.part import WHOLE, Part
from forebay_wire.schema import TableSchema
from forebay_wire.stream import StreamName


@dataclass(frozen=True, slots=True, order=True)
class PlatformMark:
    """Everything of the stream up to (epoch, seq) is in the platform. (0, 0): nothing.

    version: of `visible`, names the state that readers see: two readings under the same version see the same rows,
    whoever wrote them. Empty: the platform cannot tell.
    """

    epoch: int = 0
    seq: int = 0
    version: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class OpenedBatch:
    """A batch, opened: its rows (of `schema.arrow`) and what its header says that the load must know.

    key_range: the snapshot is of this part of the table only; then `first_seq` is what `SnapshotPart` in batch.proto says.
    """

    epoch: int
    seq: int
    schema: TableSchema
    rows: pa.RecordBatch
    snapshot: int = 0
    last_of_snapshot: bool = False
    first_seq: int = 0
    key_range: KeyRange | None = None
    ends_transaction: bool = True


@dataclass(frozen=True, slots=True)
class PlatformTable:
    """A table of the platform, for listings and for `sql`."""

    stream: StreamName
    name: str  # as people write it in `sql`: the unambiguous short name, else department.source.schema.table
    kind: str  # mirror, changes
    rows: int
    files: int
    bytes: int
    mark: PlatformMark  # of what readers see


class PlatformError(Exception):
    """The platform cannot take a batch. `permanent`: trying again will not help (a type that cannot be changed, a value
    that does not fit); else a retry may (a full disk, a lost connection)."""

    def __init__(self, message: str, *, code: str, permanent: bool) -> None:
        super().__init__(message)
        self.code = code
        self.permanent = permanent


RANGE_REFUSED: Final = "FB-PLATFORM-RANGE"
"""code: a snapshot of a range that this key cannot have"""


class QueryRefused(PlatformError):
    """A query that the platform does not answer: not one SELECT, an unknown name, a mistake, or too much memory."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="FB-PLATFORM-QUERY", permanent=True)


class Platform(Protocol):
    """A big-data platform. Used by one loader thread per stream; different streams may be loaded at the same time."""

    def mark(self, stream: StreamName) -> PlatformMark:
        """What the platform's own commits say that it holds of the stream, shown or not: the lower of history and mirror."""

    def visible(self, stream: StreamName) -> PlatformMark:
        """Up to where readers of the mirror see the stream; of the history, when the table has no key."""

    def apply(self, stream: StreamName, batches: Sequence[OpenedBatch]) -> PlatformMark:
        """Loads consecutive batches, in order, each with its mark: one commit of the history and one of the mirror; more
        where an epoch begins, a range's snapshot ends, or the last batches leave the mirror held.

        Batches at or below a table's own mark are passed over for that table, so that it may be called again after a
        crash or an unknown outcome at any point. Files are fsynced before the commit that names them.

        Raises PlatformError. After another writer's commit to a mirror that is held, the mark may have gone back to what is
        shown: load again what follows it.
        """

    def maintain(self, stream: StreamName) -> bool:
        """Compaction and expiry where due, between loads, by the same thread; whether anything was done."""

    def read(
        self,
        stream: StreamName,
        columns: Sequence[str] | None = None,
        *,
        part: Part = WHOLE,
        keys: Sequence[pa.Array] | None = None,
        since: PlatformMark | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The mirror's current rows (the table's columns only, or those named), for verify. part: of these only; keys: those
        of these keys only, a column for each of the key's. since: instead the history's rows of batches after this mark, of
        its epoch and later ones; then neither part nor keys."""

    def tables(self) -> list[PlatformTable]:
        """Every table of the platform."""

    def sql(self, query: str) -> pa.RecordBatchReader:
        """Answers one SELECT over the platform's tables as of now. Never writes. Raises QueryRefused, PlatformError."""

    def close(self) -> None:
        """Ends what it holds open."""
