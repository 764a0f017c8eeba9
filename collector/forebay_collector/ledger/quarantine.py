"""Quarantine: the batch that the platform refuses, and with it its stream, until a person decides.

A held stream loads nothing; every other stream goes on. `release` lets the loader try the batch again (replay);
`discard` gives the batch up and lets the stream go on behind it. Both are audited with who and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, update

from forebay_collector.errors import NotKnown, NotPossible
from forebay_collector.ledger import audit, batch_rows, batches, tables
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.records import BatchRecord, BatchState, StreamRecord
from forebay_collector.ledger.streams import NO_HOLD, advance_loaded, need
from forebay_wire.stream import StreamName


class Quarantine:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: StreamName, epoch: int, seq: int, code: str, reason: str, *, who: str = "loader") -> None:
        """The batch goes into quarantine and holds its stream. Raises NotKnown, NotPossible (it is not durable)."""
        at = self._database.clock()
        with self._database.write() as connection:
            stream = need(connection, name)
            _change(connection, stream, epoch, seq, BatchState.DURABLE, BatchState.QUARANTINED, code, reason)
            hold = {"held_code": code, "held_reason": reason, "held_at": at, "held_epoch": epoch, "held_seq": seq}
            connection.execute(update(tables.stream).where(tables.stream.c.id == stream.id).values(**hold))
            audit.record(connection, at, who, "quarantine", f"{name} {epoch}/{seq}", reason, {"code": code})

    def release(self, name: StreamName, *, who: str, why: str, detail: Mapping[str, Any] | None = None) -> BatchRecord:
        """The held batch becomes durable again and its stream goes on with it. Raises NotKnown, NotPossible."""
        with self._database.write() as connection:
            stream, epoch, seq = _held(connection, name)
            _change(connection, stream, epoch, seq, BatchState.QUARANTINED, BatchState.DURABLE, "", "", attempts=0)
            return self._end(connection, stream, epoch, seq, "replay", who, why, detail)

    def discard(self, name: StreamName, *, who: str, why: str, detail: Mapping[str, Any] | None = None) -> BatchRecord:
        """The held batch is given up: kept in archive and ledger, never loaded. Its stream goes on behind it.

        Raises NotKnown, NotPossible.
        """
        with self._database.write() as connection:
            stream, epoch, seq = _held(connection, name)
            assert stream.hold is not None
            code, reason = stream.hold.code, stream.hold.reason
            _change(connection, stream, epoch, seq, BatchState.QUARANTINED, BatchState.DISCARDED, code, reason)
            advance_loaded(connection, stream.id, epoch, seq)
            return self._end(connection, stream, epoch, seq, "discard", who, why, detail)

    def _end(
        self,
        connection: Connection,
        stream: StreamRecord,
        epoch: int,
        seq: int,
        action: str,
        who: str,
        why: str,
        detail: Mapping[str, Any] | None,
    ) -> BatchRecord:
        connection.execute(update(tables.stream).where(tables.stream.c.id == stream.id).values(**NO_HOLD))
        audit.record(connection, self._database.clock(), who, action, f"{stream.name} {epoch}/{seq}", why, detail)
        changed = batches.get(connection, stream.id, epoch, seq)
        assert changed is not None
        return changed


def _held(connection: Connection, name: StreamName) -> tuple[StreamRecord, int, int]:
    stream = need(connection, name)
    if stream.hold is None:
        raise NotPossible(f"stream {name} is not held: there is nothing to replay or to discard")
    return stream, stream.hold.epoch, stream.hold.seq


def _change(
    connection: Connection,
    stream: StreamRecord,
    epoch: int,
    seq: int,
    before: BatchState,
    after: BatchState,
    code: str,
    reason: str,
    **more: int,
) -> None:
    batch = batches.get(connection, stream.id, epoch, seq)
    if batch is None:
        raise NotKnown(f"batch {stream.name} {epoch}/{seq} is not in the ledger")
    if batch.state is not before:
        raise NotPossible(f"batch {stream.name} {epoch}/{seq} is {batch.state}, not {before}")
    values = {"state": after.value, "code": code, "reason": reason, **more}
    batch_rows.change(connection, batches.of(stream.id, epoch, seq), lambda _: values)
