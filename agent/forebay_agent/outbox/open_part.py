"""The open part: what log capture has put of a source transaction whose end was not read yet.

A transaction may be larger than memory, and the log tells its end last. Its batches are kept as they come, so that
memory stays bounded, but stay hidden: per stream, `open_epoch, open_seq` say where the open part begins, and readers are
shown the stream as it stood there. The put that closes the transaction forgets that beginning for all streams of the
source at once, which makes every hidden batch visible without touching one. `discard` goes back to the beginning, for a
transaction whose end was never read: its changes are read from the log again.

All functions run within the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from forebay_agent.outbox.checksums import guard_streams

HIDDEN: Final = "(open_epoch <> 0 AND (batch.epoch, batch.seq) >= (open_epoch, open_seq))"
"""Of `batch JOIN stream`: whether the batch is in its stream's open part."""

VISIBLE: Final = "(open_epoch = 0 OR (batch.epoch, batch.seq) < (open_epoch, open_seq))"

_NONE: Final = "open_epoch = 0, open_seq = 0, open_chain = x'', open_checkpoint = ''"

Source = tuple[str, str]
"""(department, source)"""


def sizes(connection: sqlite3.Connection) -> dict[Source, int]:
    """Bytes of hidden batches of every source that has an open part."""
    rows = connection.execute(
        "SELECT department, source, coalesce(sum(batch.size), 0) FROM stream LEFT JOIN batch ON batch.stream = stream.id"
        f" AND {HIDDEN} WHERE open_epoch <> 0 GROUP BY department, source"
    )
    return {(department, source): size for department, source, size in rows}


def publish(connection: sqlite3.Connection, source: Source) -> list[int]:
    """Makes the source's hidden batches visible. -> StreamRecord.ids of the streams that had an open part."""
    rows = connection.execute(
        f"UPDATE stream SET {_NONE} WHERE department = ? AND source = ? AND open_epoch <> 0 RETURNING id", source
    ).fetchall()
    shown = [number for (number,) in rows]
    guard_streams(connection, shown)
    return shown


def streams_of(connection: sqlite3.Connection, source: Source) -> list[int]:
    """StreamRecord.ids of the source's streams that have an open part."""
    rows = connection.execute(
        "SELECT id FROM stream WHERE department = ? AND source = ? AND open_epoch <> 0", source
    ).fetchall()
    return [number for (number,) in rows]


def discard(connection: sqlite3.Connection, streams: Sequence[int]) -> tuple[int, int]:
    """Sets streams back to where their open part began. -> batches and bytes that went."""
    batches, size = 0, 0
    for stream in streams:
        gone = connection.execute(
            f"SELECT count(*), coalesce(sum(size), 0) FROM batch JOIN stream ON stream.id = stream WHERE stream = ? AND {HIDDEN}",
            (stream,),
        ).fetchone()
        batches, size = batches + gone[0], size + gone[1]
        connection.execute(
            "DELETE FROM batch WHERE stream = ?1 AND (SELECT open_epoch <> 0 FROM stream WHERE id = ?1)"
            " AND (epoch, seq) >= (SELECT open_epoch, open_seq FROM stream WHERE id = ?1)",
            (stream,),
        )
        connection.execute(
            "DELETE FROM reset WHERE stream = ?1 AND new_epoch >"
            " (SELECT open_epoch FROM stream WHERE id = ?1 AND open_epoch <> 0)",
            (stream,),
        )
        connection.execute(
            "UPDATE stream SET epoch = open_epoch, next_seq = open_seq, chain = open_chain, checkpoint = open_checkpoint,"
            f" {_NONE} WHERE id = ? AND open_epoch <> 0",
            (stream,),
        )
    guard_streams(connection, streams)
    return batches, size
