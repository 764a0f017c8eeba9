"""Outbox: the writing side, one per process, shared by the threads that capture and the one that sends."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from forebay_agent.clock import Clock, SystemClock
from forebay_agent.config.model import OutboxConfig
from forebay_agent.errors import AgentError, OutboxDamaged, OutboxFull, StreamUnknown
from forebay_agent.outbox import seen
from forebay_agent.outbox.file import FILE_NAME, PAGE_BYTES, WAL_BYTES, check_whole, of_sqlite_error, open_for_writing
from forebay_agent.outbox.reader import OutboxReader
from forebay_agent.outbox.records import START, Hold, OutboxState, SeenChanges, StreamRecord, Superseded
from forebay_agent.outbox.resetting import find, reset
from forebay_agent.outbox.room import Room
from forebay_wire.digest import GENESIS
from forebay_wire.schema import TableSchema
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName

_VACUUM_FROM_PAGES: Final = 8_192  # 128 MiB free within the file: give some back to the disk
_VACUUM_PAGES: Final = 512


class Outbox:
    """Sealed batches and checkpoints, durable when a method returns.

    Every method raises OutboxDamaged (end the process), StateFolderUnusable (likewise) or OutboxFull (wait: nothing of
    the call was kept).
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, room: Room, clock: Clock) -> None:
        self._connection = connection
        self._path = path
        self._room = room
        self._clock = clock
        self._lock = threading.Lock()
        self._full = False
        self._others_version = -1
        self._count_again_if_others_wrote()
        self._arrived: set[int] = set()
        self.on_arrival: Callable[[], None] | None = None
        """Called, by whichever thread, after a batch was put, a stream made or reset; see `arrivals`."""

    @classmethod
    def open(
        cls,
        state: Path,
        config: OutboxConfig,
        *,
        clock: Clock | None = None,
        check: bool = True,
        room: Room | None = None,
    ) -> Self:
        """Opens `<state>/outbox.db`, making it where there is none. `check` reads every page of it."""
        path = state / FILE_NAME
        connection = open_for_writing(path)
        try:
            if check:
                check_whole(connection, path)
            return cls(connection, path, room or Room(state, config.cap, config.free_disk), clock or SystemClock())
        except sqlite3.Error as error:
            connection.close()
            raise of_sqlite_error(error, path) from error
        except AgentError:
            connection.close()
            raise

    def reader(self) -> OutboxReader:
        """A reading connection of one's own."""
        return OutboxReader(self._path.parent)

    def stream(self, name: StreamName) -> StreamRecord:
        """The stream as it stands now; a stream never heard of starts at epoch 1, from the start of its table."""
        with self._lock, self._failures():
            record = find(self._connection, name)
        if record is None:
            with self._transaction() as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO stream (department, source, name, epoch, next_seq, chain, checkpoint)"
                    " VALUES (?, ?, ?, 1, 1, ?, ?)",
                    (name.department, name.source, name.table, GENESIS, START),
                )
                record = find(connection, name)
            assert record is not None
            self._announce(record.id)
        return record

    def check_room(self, more: int = 0) -> None:
        """Raises OutboxFull when there is no room for `more` bytes.

        `full` ends when a batch finds room, not when a look that asks for none does: capture looks before every try,
        and a batch that found no room still waits.
        """
        try:
            self._room.check_cap(self._bytes, more)
            try:
                self._room.check_disk(self._growth(more))
            except OutboxFull:  # a log that was carried over to the file is room again
                with self._lock, self._failures():
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self._room.check_disk(self._growth(more))
        except OutboxFull:
            self._full = True
            raise
        if more:
            self._full = False

    def put(
        self,
        record: StreamRecord,
        batches: Sequence[SealedBatch],
        checkpoint: str,
        *,
        schema: TableSchema | None = None,
        seen_changes: SeenChanges | None = None,
    ) -> StreamRecord:
        """Keeps consecutive batches, sealed from `record.link` on, together with the checkpoint that they lead to; no
        batches: only the checkpoint. -> the record that the next put starts from.

        Raises: Superseded when the stream is no longer as `record` says; then nothing was kept.
        """
        size = sum(batch.size for batch in batches)
        if batches:
            self.check_room(size)
        link = batches[-1] if batches else None
        seq = link.seq + 1 if link else record.next_seq
        chain = link.chain if link else record.chain
        with self._transaction() as connection:
            window = record.window
            if seen_changes is not None:
                window = seen.change(connection, record.id, window, seen_changes)
            updated = connection.execute(
                "UPDATE stream SET next_seq = ?, chain = ?, checkpoint = ?, window_number = ?"
                " WHERE id = ? AND epoch = ? AND next_seq = ? AND chain = ?",
                (seq, chain, checkpoint, window, record.id, record.epoch, record.next_seq, record.chain),
            )
            if updated.rowcount != 1:
                raise Superseded(f"{record.name}: was reset after epoch {record.epoch} seq {record.next_seq - 1}")
            if schema is not None:
                connection.execute(
                    "INSERT OR IGNORE INTO schema (fingerprint, serialized) VALUES (?, ?)",
                    (schema.fingerprint, schema.serialized),
                )
            connection.executemany(
                "INSERT INTO batch (stream, epoch, seq, chain, size, header, payload) VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((record.id, b.epoch, b.seq, b.chain, b.size, b.header, b.payload) for b in batches),
            )
        with self._lock:
            self._batches += len(batches)
            self._bytes += size
        if batches:
            self._announce(record.id)
            self._bound_log()
        return StreamRecord(record.id, record.name, record.epoch, seq, chain, checkpoint, window, record.hold)

    def arrivals(self) -> set[int]:
        """StreamRecord.ids of the streams that this process put, made or reset something in since the last call."""
        with self._lock:
            arrived, self._arrived = self._arrived, set()
        return arrived

    def seen(self, stream: int, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int]]:
        """Key digests -> (row digest, window) of those that are remembered; see `outbox.seen`."""
        found: dict[bytes, tuple[bytes, int]] = {}
        for start in range(0, len(keys), seen.LOOKUP_KEYS):
            with self._lock, self._failures():
                found |= seen.lookup(self._connection, stream, keys[start : start + seen.LOOKUP_KEYS])
        return found

    def delete(self, durable: Mapping[int, tuple[int, int]]) -> int:
        """Deletes, by StreamRecord.id, every batch up to and including (epoch, seq): the collector has them. -> how many."""
        try:
            return self._delete(durable)
        except OutboxFull:  # others filled the disk: what the log holds makes room within it
            with self._lock, self._failures():
                self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            return self._delete(durable)

    def _delete(self, durable: Mapping[int, tuple[int, int]]) -> int:
        gone, size = 0, 0
        with self._transaction() as connection:
            for stream, (epoch, seq) in durable.items():
                sizes = connection.execute(
                    "DELETE FROM batch WHERE stream = ? AND (epoch, seq) <= (?, ?) RETURNING size", (stream, epoch, seq)
                ).fetchall()
                gone += len(sizes)
                size += sum(each for (each,) in sizes)
        with self._lock, self._failures():
            self._batches -= gone
            self._bytes -= size
            if self._connection.execute("PRAGMA freelist_count").fetchone()[0] > _VACUUM_FROM_PAGES:
                self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        return gone

    def hold(self, stream: int, hold: Hold) -> None:
        """Keeps what the collector holds of a stream where the two do not fit together."""
        self._set_hold(stream, hold)

    def release(self, stream: int) -> None:
        """Collector and outbox fit together again."""
        self._set_hold(stream, Hold("", "", 0, 0, b""))

    def reset(self, name: StreamName, *, who: str, why: str) -> StreamRecord:
        """Starts a stream anew, from any process; see `resetting`. Raises StreamUnknown."""
        with self._transaction() as connection:
            old = find(connection, name)
            if old is None:
                raise StreamUnknown(f"{name}: the outbox knows no such stream")
            batches, size = reset(connection, old, at_us=self._clock.now_us(), who=who, why=why)
            new = find(connection, name)
        assert new is not None
        with self._lock:
            self._batches -= batches
            self._bytes -= size
        self._announce(new.id)
        return new

    def state(self) -> OutboxState:
        """How full it is, for status and heartbeats."""
        with self._lock:
            batches, size, full = self._batches, self._bytes, self._full
        return OutboxState(batches, size, self._room.cap, self._room.free(self._room.folder), full)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _announce(self, stream: int) -> None:
        with self._lock:
            self._arrived.add(stream)
        told = self.on_arrival
        if told is not None:
            told()

    def _set_hold(self, stream: int, hold: Hold) -> None:
        with self._transaction() as connection:
            connection.execute(
                "UPDATE stream SET held_code = ?, held_reason = ?, held_epoch = ?, held_seq = ?, held_chain = ?"
                " WHERE id = ?",
                (hold.code, hold.reason, hold.epoch, hold.seq, hold.chain, stream),
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._failures():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._count_again_if_others_wrote()
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _count_again_if_others_wrote(self) -> None:
        """`forebay-agent reset` is another process, and may abandon batches."""
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._others_version:
            self._others_version = version
            self._batches, self._bytes = self._connection.execute(
                "SELECT count(*), coalesce(sum(size), 0) FROM batch"
            ).fetchone()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            mapped = of_sqlite_error(error, self._path)
            self._full = self._full or isinstance(mapped, OutboxFull)
            raise mapped from error

    def _bound_log(self) -> None:
        """Readers can keep SQLite from starting its log over; from WAL_BYTES on we wait for them instead."""
        if self._log_bytes() > WAL_BYTES:
            with self._lock, self._failures():
                self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def _growth(self, more: int) -> int:
        """Bytes by which log and file may grow when `more` bytes are put and all of the log is carried over."""
        with self._lock, self._failures():
            pages: int = self._connection.execute("PRAGMA page_count").fetchone()[0]
            free: int = self._connection.execute("PRAGMA freelist_count").fetchone()[0]
        try:
            promised = max(0, pages * PAGE_BYTES - self._path.stat().st_size)
        except FileNotFoundError:
            raise OutboxDamaged(f"{self._path}: the outbox vanished while the agent was running") from None
        return more + promised + max(0, more - free * PAGE_BYTES)

    def _log_bytes(self) -> int:
        try:
            return self._path.with_name(f"{self._path.name}-wal").stat().st_size
        except FileNotFoundError:
            return 0
