"""Starting a stream anew: the next epoch, from the start of its table, audited.

The first batch of the new epoch carries the chain of the batch that the collector will hold before it. That is the last
one sealed, since waiting batches are still sent first; but where collector and outbox do not fit together (a Hold) it
is the collector's own mark, and batches that wait could never be taken: they go, counted in the audit.
"""

from __future__ import annotations

import sqlite3

from forebay_agent.outbox.checksums import guard_streams
from forebay_agent.outbox.open_part import discard
from forebay_agent.outbox.reader import STREAM_COLUMNS, stream_record
from forebay_agent.outbox.records import START, StreamRecord
from forebay_wire.stream import StreamName


def find(connection: sqlite3.Connection, name: StreamName) -> StreamRecord | None:
    row = connection.execute(
        f"SELECT {STREAM_COLUMNS} FROM stream WHERE department = ? AND source = ? AND name = ?",
        (name.department, name.source, name.table),
    ).fetchone()
    return stream_record(row) if row else None


def reset(connection: sqlite3.Connection, name: StreamName, *, at_us: int, who: str, why: str) -> StreamRecord:
    """Within the caller's transaction; the stream is known. What is hidden of it goes first: it was never to be sent."""
    old = find(connection, name)
    assert old is not None
    discard(connection, [old.id])
    old = find(connection, name)
    assert old is not None
    epoch, chain, abandoned = old.epoch + 1, old.chain, (0, 0)
    if old.hold is not None:
        epoch, chain = max(old.epoch, old.hold.epoch) + 1, old.hold.chain
        abandoned = connection.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM batch WHERE stream = ?", (old.id,)
        ).fetchone()
        connection.execute("DELETE FROM batch WHERE stream = ?", (old.id,))
    connection.execute(
        "UPDATE stream SET epoch = ?, next_seq = 1, chain = ?, checkpoint = ?, held_code = '', held_reason = '',"
        " held_epoch = 0, held_seq = 0, held_chain = x'' WHERE id = ?",
        (epoch, chain, START, old.id),
    )
    guard_streams(connection, [old.id])
    connection.execute("DELETE FROM seen WHERE stream = ?", (old.id,))
    connection.execute(
        "INSERT INTO reset (stream, at_us, who, why, old_epoch, old_next_seq, old_checkpoint, new_epoch,"
        " abandoned_batches, abandoned_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (old.id, at_us, who, why, old.epoch, old.next_seq, old.checkpoint, epoch, *abandoned),
    )
    new = find(connection, name)
    assert new is not None
    return new
