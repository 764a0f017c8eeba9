"""What a put writes of one stream, within the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from forebay_agent.clock import Clock
from forebay_agent.outbox import checksums, seen
from forebay_agent.outbox.records import LogRecord, StreamPut
from forebay_wire.seal import SealedBatch

_UPDATE: Final = "UPDATE stream SET epoch = ?, next_seq = ?, chain = ?, checkpoint = ?, window_number = ?, checksum = 0"
_AS_BEFORE: Final = " WHERE id = ? AND epoch = ? AND next_seq = ? AND chain = ?"
# the right sides of an UPDATE are the values before it: where the open part begins stays as it was first set
_OPENING: Final = (
    ", open_epoch = iif(open_epoch, open_epoch, epoch), open_seq = iif(open_epoch, open_seq, next_seq),"
    " open_chain = iif(open_epoch, open_chain, chain), open_checkpoint = iif(open_epoch, open_checkpoint, checkpoint)"
)


def check_consecutive(put: StreamPut) -> None:
    """Raises ValueError when batches and epochs do not lead from `before` to `after`."""
    before = put.before
    epoch, seq, chain = before.epoch, before.next_seq, before.chain
    last = epoch + len(put.epochs)
    if put.epochs and [new.epoch for new in put.epochs] != list(range(epoch + 1, last + 1)):
        raise ValueError(f"{before.name}: new epochs {[new.epoch for new in put.epochs]} do not follow epoch {epoch}")
    for batch in put.batches:
        fields = batch.fields
        if epoch < fields.epoch <= last:
            epoch, seq = fields.epoch, 1
        if (fields.epoch, fields.seq, fields.previous_chain) != (epoch, seq, chain):
            raise ValueError(
                f"{before.name}: epoch {fields.epoch} seq {fields.seq} does not follow epoch {epoch} seq {seq - 1}"
            )
        seq, chain = seq + 1, fields.chain
    if epoch < last:
        epoch, seq = last, 1
    after = put.after
    if (after.id, after.epoch, after.next_seq, after.chain) != (before.id, epoch, seq, chain):
        raise ValueError(f"{before.name}: its batches lead to epoch {epoch} seq {seq}, not to {after.last}")


def keep(connection: sqlite3.Connection, put: StreamPut, known: set[bytes], *, clock: Clock, hidden: bool) -> bool:
    """`known`: fingerprints of schemas that are in the file. -> False: the stream is no longer as `put.before` says."""
    before, after = put.before, put.after
    updated = connection.execute(
        _UPDATE + _OPENING + _AS_BEFORE if hidden else _UPDATE + _AS_BEFORE,
        (
            *(after.epoch, after.next_seq, after.chain, after.checkpoint, after.window),
            *(before.id, before.epoch, before.next_seq, before.chain),
        ),
    )
    if updated.rowcount != 1:
        return False
    if put.epochs:
        at_us = clock.now_us()
        connection.execute("DELETE FROM seen WHERE stream = ?", (before.id,))
        connection.executemany(
            "INSERT INTO reset (stream, at_us, who, why, old_epoch, old_next_seq, old_checkpoint, new_epoch,"
            " abandoned_batches, abandoned_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
            (
                (before.id, at_us, e.who, e.why, e.epoch - 1, e.old_next_seq, e.old_checkpoint, e.epoch)
                for e in put.epochs
            ),
        )
    if put.seen_changes is not None:
        seen.change(connection, before.id, before.window, put.seen_changes)
    for schema in put.schemas:
        if schema.fingerprint not in known:
            connection.execute(
                "INSERT OR IGNORE INTO schema (fingerprint, serialized) VALUES (?, ?)",
                (schema.fingerprint, schema.serialized),
            )
    connection.executemany(
        f"INSERT INTO batch ({checksums.BATCH_COLUMNS}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(*row, checksums.of_row(row)) for row in (_row(before.id, batch) for batch in put.batches)],
    )
    return True


def _row(stream: int, batch: SealedBatch) -> tuple[Any, ...]:
    fields = batch.fields
    return stream, fields.epoch, fields.seq, fields.chain, batch.size, batch.header, batch.payload


def keep_log(connection: sqlite3.Connection, department: str, source: str, log: LogRecord) -> None:
    row = (department, source, log.checkpoint, json.dumps(sorted(log.tables), ensure_ascii=False))
    connection.execute(
        f"INSERT INTO log ({checksums.LOG_COLUMNS}, checksum) VALUES (?, ?, ?, ?, ?) ON CONFLICT (department, source)"
        " DO UPDATE SET checkpoint = excluded.checkpoint, tables = excluded.tables, checksum = excluded.checksum",
        (*row, checksums.of_row(row)),
    )


def find_log(connection: sqlite3.Connection, department: str, source: str) -> LogRecord | None:
    row = connection.execute(
        "SELECT checkpoint, tables FROM log WHERE department = ? AND source = ?", (department, source)
    ).fetchone()
    return LogRecord(row[0], frozenset(json.loads(row[1]))) if row else None
