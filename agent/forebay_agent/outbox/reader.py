"""Reading the outbox on a connection of one's own: the uplink and the listings. Never holds a transaction open.

What is hidden (`open_part`) does not exist here: a stream with an open part is shown as it stood before.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forebay_agent.outbox.checksums import BATCH_COLUMNS, check_streams, whole_batch, whole_header
from forebay_agent.outbox.file import FAILURES, FILE_NAME, of_sqlite_error, open_for_reading
from forebay_agent.outbox.open_part import VISIBLE
from forebay_agent.outbox.records import Hold, Reset, StreamRecord, WaitingBatch
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName

STREAM_COLUMNS = (
    "id, department, source, name, epoch, next_seq, chain, checkpoint, window_number,"
    " held_code, held_reason, held_epoch, held_seq, held_chain"
)
_VISIBLE_STREAM = (
    "SELECT id, department, source, name, iif(open_epoch, open_epoch, epoch), iif(open_epoch, open_seq, next_seq),"
    " iif(open_epoch, open_chain, chain), iif(open_epoch, open_checkpoint, checkpoint), window_number,"
    " held_code, held_reason, held_epoch, held_seq, held_chain FROM stream"
)
_WAITING = "batch.epoch, seq, batch.chain, size, header"
_SENT = ", ".join(f"batch.{column}" for column in (*BATCH_COLUMNS.split(", "), "checksum"))
_BATCHES = "FROM stream CROSS JOIN batch ON batch.stream = stream.id WHERE stream.id = ?"


class OutboxReader:
    """Used by one thread at a time. Every method raises OutboxDamaged or StateFolderUnusable when the file fails."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE_NAME
        self._connection = open_for_reading(self._path)

    def streams(self) -> list[StreamRecord]:
        """Every stream, by name."""
        self._check_streams()
        rows = self._all(f"{_VISIBLE_STREAM} ORDER BY department, source, name")
        return [stream_record(row) for row in rows]

    def waiting(self, stream: int, *, limit: int = -1) -> list[WaitingBatch]:
        """The stream's batches in the order in which they are sent; `stream` is StreamRecord.id."""
        rows = self._all(
            f"SELECT {_WAITING} {_BATCHES} AND {VISIBLE} ORDER BY batch.epoch, seq LIMIT ?",
            (stream, limit),
        )
        return [whole_header(self._path, row) for row in rows]

    def waiting_of(self, stream: int) -> dict[str, int]:
        """How much of the stream waits: `batches`, `bytes`, and `from_seq` to `to_seq`, 0 when nothing does."""
        row = self._all(
            f"SELECT count(*), coalesce(sum(size), 0), min(seq), max(seq) {_BATCHES} AND {VISIBLE}", (stream,)
        )
        batches, size, first, last = row[0]
        return {"batches": batches, "bytes": size, "from_seq": first or 0, "to_seq": last or 0}

    def standing(self, stream: int) -> tuple[StreamRecord, WaitingBatch | None]:
        """The stream and the first batch that waits, both as of one moment."""
        return self._as_of_one_moment(stream, "ASC")

    def _as_of_one_moment(self, stream: int, order: str) -> tuple[StreamRecord, WaitingBatch | None]:
        query = f"SELECT {_WAITING} {_BATCHES} AND {VISIBLE} ORDER BY batch.epoch {order}, seq {order} LIMIT 1"
        try:
            self._connection.execute("BEGIN")
            try:
                self._check_streams()
                row = self._all(f"{_VISIBLE_STREAM} WHERE id = ?", (stream,))[0]
                found = self._all(query, (stream,))
            finally:
                self._connection.execute("COMMIT")
        except FAILURES as error:
            raise of_sqlite_error(error, self._path) from error
        return stream_record(row), whole_header(self._path, found[0]) if found else None

    def find(self, stream: int, epoch: int, seq: int) -> WaitingBatch | None:
        """That very batch, None when it does not wait."""
        rows = self._all(
            f"SELECT {_WAITING} {_BATCHES} AND {VISIBLE} AND batch.epoch = ? AND seq = ?",
            (stream, epoch, seq),
        )
        return whole_header(self._path, rows[0]) if rows else None

    def next_batch(self, stream: int, after: tuple[int, int]) -> SealedBatch | None:
        """The first batch after (epoch, seq), None when there is none."""
        rows = self._all(
            f"SELECT {_SENT} {_BATCHES} AND {VISIBLE} AND (batch.epoch, seq) > (?, ?)"
            " ORDER BY batch.epoch, seq LIMIT 1",
            (stream, *after),
        )
        return whole_batch(self._path, rows[0]) if rows else None

    def left(self) -> dict[StreamName, tuple[int, int]]:
        """Up to which (epoch, seq) each stream's batches have left the outbox."""
        first = "SELECT id FROM batch AS one WHERE one.stream = stream.id ORDER BY one.epoch, one.seq LIMIT 1"
        rows = self._all(
            "SELECT department, source, name, iif(batch.id, batch.epoch, stream.epoch), iif(batch.id, seq, next_seq) - 1"
            f" FROM stream LEFT JOIN batch ON batch.id = ({first})"
        )
        return {StreamName(*row[:3]): (row[3], row[4]) for row in rows}

    def end(self, stream: int) -> tuple[StreamRecord, WaitingBatch | None]:
        """The stream and the last batch that waits, both as of one moment: where its batches must end."""
        return self._as_of_one_moment(stream, "DESC")

    def schema(self, fingerprint: bytes) -> bytes | None:
        """The serialised Arrow schema of that fingerprint."""
        rows = self._all("SELECT serialized FROM schema WHERE fingerprint = ?", (fingerprint,))
        return rows[0][0] if rows else None

    def totals(self) -> tuple[int, int]:
        """(batches, bytes) that the file holds, hidden ones too."""
        batches, size = self._all("SELECT count(*), coalesce(sum(size), 0) FROM batch")[0]
        return batches, size

    def resets(self) -> list[Reset]:
        """The audit of resets, oldest first."""
        rows = self._all(
            "SELECT department, source, name, at_us, who, why, old_epoch, old_next_seq, new_epoch, abandoned_batches,"
            " abandoned_bytes FROM reset JOIN stream ON stream.id = reset.stream"
            " WHERE open_epoch = 0 OR new_epoch <= open_epoch ORDER BY reset.id"
        )
        return [Reset(StreamName(*row[:3]), *row[3:]) for row in rows]

    def close(self) -> None:
        self._connection.close()

    def _check_streams(self) -> None:
        try:
            check_streams(self._connection, self._path)
        except FAILURES as error:
            raise of_sqlite_error(error, self._path) from error

    def _all(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, tuple(values)).fetchall()
        except FAILURES as error:
            raise of_sqlite_error(error, self._path) from error


def stream_record(row: Sequence[Any]) -> StreamRecord:
    """A row of STREAM_COLUMNS."""
    hold = Hold(*row[9:14]) if row[9] else None
    number, department, source, name, epoch, next_seq, chain, checkpoint, window = row[:9]
    return StreamRecord(number, StreamName(department, source, name), epoch, next_seq, chain, checkpoint, window, hold)
