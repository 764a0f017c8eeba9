"""Checksums of what the outbox keeps: a bit that the disk turns is found when the row is read, and named, not sent.

SQLite checks the form of its pages, not what is in them. CRC-32 finds every single flipped bit and costs next to nothing; that
nobody altered a batch, its own digests say. 0: none was kept (by a version of the agent before checksums; a trigger sets it
where such a version still writes). Covered are

    batch   stream, epoch, seq, chain, size, header, payload
    stream  whose it is, epoch, next_seq, chain, checkpoint, window, where its open part begins
    log     whose it is, checkpoint, tables
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from forebay_agent.errors import OutboxDamaged
from forebay_agent.outbox.records import WaitingBatch
from forebay_wire.errors import WireError
from forebay_wire.seal import SealedBatch, check_digests, parse_header

NONE: Final = 0
STREAM_COLUMNS: Final = (
    "department, source, name, epoch, next_seq, chain, checkpoint, window_number,"
    " open_epoch, open_seq, open_chain, open_checkpoint"
)
LOG_COLUMNS: Final = "department, source, checkpoint, tables"
BATCH_COLUMNS: Final = "stream, epoch, seq, chain, size, header, payload"
_MADE: Final = 1 << 32
"""set in every checksum, so that none is 0"""


def of_row(values: Iterable[Any]) -> int:
    """The checksum of a row's values: integers, texts and bytes."""
    checksum = 0
    for value in values:
        content = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
        checksum = zlib.crc32(content, zlib.crc32(b"%d;" % len(content), checksum))
    return _MADE | checksum


def guard_streams(connection: sqlite3.Connection, streams: Iterable[int]) -> None:
    """Renews the checksums of these streams' rows, within the caller's transaction that changed them."""
    for stream in streams:
        row = connection.execute(f"SELECT {STREAM_COLUMNS} FROM stream WHERE id = ?", (stream,)).fetchone()
        connection.execute("UPDATE stream SET checksum = ? WHERE id = ?", (of_row(row), stream))


def check_streams(connection: sqlite3.Connection, path: Path) -> None:
    """Every stream's row, and how far every log was captured. Raises OutboxDamaged, naming the row; sqlite3.Error."""
    for table, columns in (("stream", STREAM_COLUMNS), ("log", LOG_COLUMNS)):
        for *values, checksum in connection.execute(f"SELECT {columns}, checksum FROM {table}").fetchall():
            if checksum not in (NONE, of_row(values)):
                whose = "/".join(str(value) for value in values[: 3 if table == "stream" else 2])
                whose = whose.encode("utf-8", "replace").decode()
                raise OutboxDamaged(f"{path}: the outbox is damaged: what it keeps of {table} {whose} was altered")


def whole_batch(path: Path, row: Sequence[Any]) -> SealedBatch:
    """The batch in a row of BATCH_COLUMNS and its checksum. Raises OutboxDamaged."""
    *values, checksum = row
    _, epoch, seq, chain, size, header, payload = values
    batch = SealedBatch(header, payload)
    try:
        fields = batch.fields
        if checksum == NONE:
            check_digests(batch)
        elif checksum != of_row(values):
            raise OutboxDamaged(damaged(path, epoch, seq, "it is not what was kept"))
    except WireError as error:
        raise OutboxDamaged(damaged(path, epoch, seq, f"its header or payload ({error.code})")) from error
    if (fields.epoch, fields.seq, fields.chain, batch.size) != (epoch, seq, chain, size):
        raise OutboxDamaged(damaged(path, epoch, seq, f"its header is of epoch {fields.epoch} seq {fields.seq}"))
    return batch


def whole_header(path: Path, row: Sequence[Any]) -> WaitingBatch:
    """A row without its payload: its columns against its header. Raises OutboxDamaged."""
    waiting = WaitingBatch(*row)
    try:
        fields = parse_header(waiting.header)
    except WireError as error:
        raise OutboxDamaged(damaged(path, waiting.epoch, waiting.seq, f"its header ({error.code})")) from error
    if (fields.epoch, fields.seq, fields.chain) != (waiting.epoch, waiting.seq, waiting.chain):
        raise OutboxDamaged(
            damaged(path, waiting.epoch, waiting.seq, f"its header is of epoch {fields.epoch} seq {fields.seq}")
        )
    return waiting


def damaged(path: Path, epoch: int, seq: int, how: str) -> str:
    return f"{path}: the outbox is damaged: epoch {epoch} seq {seq}: {how}"
