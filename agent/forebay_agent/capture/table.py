"""One table under capture: its shape now, the pieces its rows are handed on in, and the checkpoint's claim on it.

Shared by all modes. A shape may grow while it is captured: added columns appear in the pieces read after the poll that
saw them (every piece carries its own schema). Whatever an epoch cannot follow (columns gone or of another type, another
key) raises TableChanged at the beginning of a poll, before anything is read; when the table is opened again, it is taken
anew under the next epoch (`taking_up`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from forebay_agent.capture import marks
from forebay_agent.capture.captured import Checkpoint
from forebay_agent.capture.source import RowRange, Source, TableShape, Values
from forebay_agent.config.model import TableConfig
from forebay_agent.errors import KeyMissing, SourceReplaced, TableChanged, TableReplaced
from forebay_wire.columns import CHANGE_FIELDS
from forebay_wire.schema import column as field_of

START: Final = "start"
"""a checkpoint's phase before anything was captured"""

CHUNK_ROWS: Final = 500_000
"""rows of one statement: a statement lasts seconds, and one that is lost costs at most this"""

PIECE_BYTES: Final = 16 << 20
"""Arrow bytes of one piece, unless a single batch of the source is larger"""

PATIENCE_SECONDS: Final = 20.0
"""a statement is left, and resumed later, when its reader was held up for so long (the outbox is full)"""

_TAKEN_ANEW: Final = (
    "Undo the change now, if it was not meant. Otherwise nothing: in half a minute the table is taken anew by itself, under "
    "the next epoch."
)
_POSITION_CHARACTERS: Final = 1_000
_SELECTION_BYTES: Final = 8
_COMMITTED_AT: Final = CHANGE_FIELDS[2].type
_ABSENT: Final = CHANGE_FIELDS[3].type


@dataclass(slots=True)
class CapturedTable:
    """source: the session that reads it. shape: as last described, the selected columns only."""

    source: Source
    shape: TableShape
    describe: Callable[[], TableShape]
    config: TableConfig
    batch_rows: int
    monotonic: Callable[[], float]

    def follow(self) -> None:
        """Describes the table anew. Raises TableChanged, and whatever describing raises."""
        now = self.describe()
        if now == self.shape:
            return
        columns = {column.name: column for column in now.columns}
        gone = [column.name for column in self.shape.columns if column.name not in columns]
        if gone:
            raise TableChanged(f"{self.shape.table}: columns are gone: {', '.join(gone)}", remedy=_TAKEN_ANEW)
        for before in self.shape.columns:
            if columns[before.name].arrow != before.arrow:
                raise TableChanged(
                    f"{self.shape.table}: column {before.name} was {before.origin}, is {columns[before.name].origin}",
                    remedy=_TAKEN_ANEW,
                )
        if now.key != self.shape.key:
            raise TableChanged(
                f"{self.shape.table}: the key was ({', '.join(self.shape.key)}), is ({', '.join(now.key)})",
                remedy=_TAKEN_ANEW,
            )
        self.shape = now

    def claim(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with this server's and table's identity and this selection of columns; set back to its start when
        mode, key or cursor column are no longer those that its values belong to. Raises SourceReplaced when it was taken from
        another server, TableReplaced when of another table of this name; an identity that is not known (empty) matches."""
        self.refuse_another(checkpoint, self.shape)
        server, table = self.source.identity(), self.shape.identity
        if checkpoint.plan not in ("", self._plan):
            checkpoint = checkpoint.advanced(phase=START, after=None, low=None, through=None)
        return checkpoint.advanced(
            source=server or checkpoint.source,
            table=table or checkpoint.table,
            plan=self._plan,
            selection=selection_of(self.config),
        )

    def refuse_another(self, checkpoint: Checkpoint, shape: TableShape) -> None:
        """Raises SourceReplaced, TableReplaced: server or table are not those that the checkpoint was taken from."""
        server, table = self.source.identity(), shape.identity
        if checkpoint.source and server and checkpoint.source != server:
            raise SourceReplaced(
                f"{self.shape.table} was captured from server {checkpoint.source}; this is server {server}"
            )
        if checkpoint.table and table and checkpoint.table != table:
            raise TableReplaced(f"{self.shape.table} was dropped and created again since it was captured")

    @property
    def _plan(self) -> str:
        return json.dumps([self.config.mode, self.shape.key, self.config.cursor], ensure_ascii=False)

    def pieces(self, rows: RowRange, shape: TableShape | None = None) -> Iterator[tuple[pa.RecordBatch, bool]]:
        """The rows of a range, in its order, as (piece, whether it is the last one); the last one may be empty.

        Pieces have at most `batch_rows` rows and about `PIECE_BYTES`. Reads in statements of `CHUNK_ROWS`, and gives a
        statement up when a piece was kept for long; both need an order to resume from.
        """
        shape = shape or self.shape
        pending: list[pa.RecordBatch] = []
        count = size = 0
        for batch in self._statements(shape, rows):
            if pending and size + batch.nbytes > PIECE_BYTES:
                yield pa.concat_batches(pending), False
                pending, count, size = [], 0, 0
            pending.append(batch)
            count, size = count + batch.num_rows, size + batch.nbytes
            while count > self.batch_rows:
                whole = pa.concat_batches(pending) if len(pending) > 1 else pending[0]
                rest = whole.slice(self.batch_rows)
                yield whole.slice(0, self.batch_rows), False
                pending, count, size = [rest], rest.num_rows, rest.nbytes
        yield (pa.concat_batches(pending) if pending else empty(shape)), True

    def _statements(self, shape: TableShape, rows: RowRange) -> Iterator[pa.RecordBatch]:
        after = rows.after
        while True:
            batches = self.source.read(
                shape,
                RowRange(rows.order, after, rows.at_least, rows.overlap, rows.through, CHUNK_ROWS if rows.order else 0),
            )
            count = 0
            left = False
            try:
                for batch in batches:
                    if not batch.num_rows:
                        continue
                    count += batch.num_rows
                    if rows.order:
                        after = self.marks_of(batch, rows.order)
                    given = self.monotonic()
                    yield batch
                    if rows.order and self.monotonic() - given > PATIENCE_SECONDS:
                        left = True
                        break
            finally:
                close = getattr(batches, "close", None)
                if close is not None:
                    close()
            if not left and (not rows.order or count < CHUNK_ROWS):
                return

    def marks_of(self, rows: pa.RecordBatch, names: tuple[str, ...]) -> Values:
        """The last row's values of these columns. Raises KeyMissing when one of them holds a NULL in any row."""
        for name in names:
            if rows.column(name).null_count:
                raise KeyMissing(
                    f"{self.shape.table}: column {name} is used as key or cursor and is NULL in some rows",
                    remedy="Name columns that are never NULL with `key = [...]`, or share a view without those rows.",
                )
        return marks.to_texts(rows, names, -1)

    def finished(
        self,
        rows: pa.RecordBatch,
        op: str | pa.StringArray,
        position: str | pa.StringArray,
        committed_at: pa.TimestampArray | None = None,
    ) -> pa.RecordBatch:
        """The shape's columns of these rows, and then `CHANGE_FIELDS`; fields carry `forebay.origin` and
        `forebay.carried`. `op` and `position`: one for all rows, or one per row."""
        count = rows.num_rows
        columns = [rows.column(column.name) for column in self.shape.columns]
        columns += [
            pa.repeat(pa.scalar(op, pa.string()), count) if isinstance(op, str) else op,
            pa.repeat(pa.scalar(position, pa.string()), count) if isinstance(position, str) else position,
            pa.nulls(count, _COMMITTED_AT) if committed_at is None else committed_at,
            pa.nulls(count, _ABSENT),
        ]
        fields = [field_of(c.name, c.arrow, c.origin, carried=c.carried) for c in self.shape.columns]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*fields, *CHANGE_FIELDS]))


def selection_of(table: TableConfig) -> str:
    """A digest of which columns of the table are captured, as what, and under which masks."""
    told = (
        sorted(table.columns),
        sorted(table.exclude),
        sorted((mask.column, mask.kind) for mask in table.masks),
        None if table.approved is None else sorted(table.approved),
        sorted(table.as_text),
    )
    text = json.dumps(told, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_SELECTION_BYTES).hexdigest()


def shown(text: str) -> str:
    """A position of bounded length."""
    return text if len(text) <= _POSITION_CHARACTERS else text[: _POSITION_CHARACTERS - 1] + "…"


def empty(shape: TableShape) -> pa.RecordBatch:
    """No rows of this shape."""
    columns = [pa.array([], column.arrow) for column in shape.columns]
    return pa.RecordBatch.from_arrays(columns, names=[column.name for column in shape.columns])
