"""Outbox: the writing side, one per process, shared by the threads that capture and the one that sends."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from forebay_agent.clock import Clock, SystemClock
from forebay_agent.config.model import OutboxConfig
from forebay_agent.errors import AgentError, OutboxDamaged, OutboxFull, StreamUnknown
from forebay_agent.outbox import requests, seen
from forebay_agent.outbox.checksums import check_streams, guard_streams
from forebay_agent.outbox.file import FAILURES, FILE_NAME, check_whole, of_sqlite_error, open_for_writing
from forebay_agent.outbox.keeping import check_consecutive, find_log, keep, keep_log
from forebay_agent.outbox.open_part import Source, discard, publish, sizes, streams_of
from forebay_agent.outbox.reader import OutboxReader
from forebay_agent.outbox.records import (
    START,
    Hold,
    LogRecord,
    OutboxState,
    SeenChanges,
    StreamPut,
    StreamRecord,
    Superseded,
)
from forebay_agent.outbox.requests import RangeRequest
from forebay_agent.outbox.resetting import find, reset
from forebay_agent.outbox.room import Room
from forebay_agent.outbox.sealed import SealedCount
from forebay_agent.outbox.space import Space
from forebay_agent.outbox.transaction import Alone, Transaction
from forebay_wire.digest import GENESIS
from forebay_wire.key_range import KeyRange
from forebay_wire.schema import TableSchema
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName

_RAISE_CAP: Final = "Raise `[outbox] cap`: a transaction of the database is sent when all of it is in the outbox."
_FREE_DISK: Final = "Free disk space: a transaction of the database is sent when all of it is in the outbox."


class Outbox:
    """Sealed batches and checkpoints, durable when a method returns.

    Every method raises OutboxDamaged (end the process), StateFolderUnusable (likewise) or OutboxFull (wait: nothing of
    the call was kept).
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, room: Room, clock: Clock) -> None:
        self._connection = connection
        self._path = path
        self._room = room
        self._space = Space(connection, path, room)
        self._clock = clock
        self._alone = Alone(connection, path, self._failed)
        self._transaction = Transaction(self._alone, self._begun, self._undone)
        self._full = False
        self._schemas: set[bytes] = set()
        self._batches, self._bytes = 0, 0
        self._open: dict[Source, int] = {}
        self._counted = self._batches, self._bytes, self._open
        self._others_version = -1
        self._begun()
        self._arrived: set[int] = set()
        self.sealed = SealedCount()
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
        except FAILURES as error:
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
        with self._alone as connection:
            check_streams(connection, self._path)
            record = find(connection, name)
        if record is None:
            with self._transaction as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO stream (department, source, name, epoch, next_seq, chain, checkpoint)"
                    " VALUES (?, ?, ?, 1, 1, ?, ?)",
                    (name.department, name.source, name.table, GENESIS, START),
                )
                record = find(connection, name)
                assert record is not None
                guard_streams(connection, [record.id])
            self._announce([record.id])
        return record

    def check_room(self, more: int = 0) -> None:
        """Raises OutboxFull when there is no room for `more` bytes. `full` ends when a batch finds room, not when a look that
        asks for none does: capture looks before every try, and a batch that found no room still waits."""
        if self._full:
            self.look()
        try:
            self._room.check_cap(self._bytes if self._visible else 0, more)
            self._check_disk(more)
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

        Raises: Superseded when the stream is no longer as `record` says; then nothing was kept. ValueError when the batches
            are not consecutive.
        """
        link = record.link.after(batches[-1]) if batches else record.link
        window = seen.next_window(record.window, seen_changes)
        after = StreamRecord(
            record.id, record.name, record.epoch, link.seq, link.previous_chain, checkpoint, window, record.hold
        )
        put = StreamPut(record, after, batches, (schema,) if schema else (), (), seen_changes)
        check_consecutive(put)
        size = put.size
        if batches:
            self.check_room(size)
        with self._transaction as connection:
            self._keep(connection, (put,), size, hidden=False)
        if batches:
            self._kept((put,), (record.id,), size)
        return after

    def log(self, department: str, source: str) -> LogRecord | None:
        """How far the source's log was captured; None: not at all."""
        with self._alone as connection:
            try:
                return find_log(connection, department, source)
            except ValueError as error:
                raise OutboxDamaged(f"{self._path}: the log record of {department}/{source} cannot be read") from error

    def put_log(self, department: str, source: str, puts: Sequence[StreamPut], log: LogRecord, *, open: bool) -> None:  # noqa: A002
        """Keeps what the source's log told of several streams, and how far the log was captured, in one transaction.

        open: the batches belong to a transaction of the source whose end was not read yet. They are kept but hidden, and
        the log record stays; the next put that is not open makes them visible in its own transaction, and `discard_open`
        takes them away. See `open_part`.

        Raises:
            Superseded: streams are no longer as their `before` says; then nothing of all was kept.
            ValueError: batches do not lead from `before` to `after`, are of another source, or remember rows of a part that
                may be discarded.
        """
        for put in puts:
            check_consecutive(put)
            if (put.before.name.department, put.before.name.source) != (department, source):
                raise ValueError(f"{put.before.name}: is not of {department}/{source}")
            if open and put.seen_changes is not None and put.seen_changes.remember:
                raise ValueError(f"{put.before.name}: rows of an open part cannot be remembered")
        whose = (department, source)
        size = sum(put.size for put in puts)
        if size:
            self._check_room_of_log(whose, size, hidden=open)
        shown: list[int] = []
        with self._transaction as connection:
            self._keep(connection, puts, size, hidden=open)
            if open:
                self._open = self._open | {whose: self._open.get(whose, 0) + size}
            else:
                if whose in self._open:
                    shown = publish(connection, whose)
                    self._open = {each: held for each, held in self._open.items() if each != whose}
                keep_log(connection, department, source, log)
                shown += [put.before.id for put in puts if put.batches or put.epochs]
        self._kept(puts, shown, size)

    def request_range(self, name: StreamName, key_range: KeyRange, *, who: str, why: str) -> None:
        """Asks the agent that captures the stream, from any process, to take a range of its keys anew. Raises StreamUnknown."""
        with self._transaction as connection:
            record = find(connection, name)
            if record is None:
                raise StreamUnknown(f"{name}: the outbox knows no such stream")
            requests.add(connection, record.id, key_range, at_us=self._clock.now_us(), who=who, why=why)

    def range_requests(self, department: str, source: str) -> list[RangeRequest]:
        """What is asked of a source and was not taken up yet, oldest first."""
        with self._alone as connection:
            return requests.waiting(connection, department, source)

    def finish_request(self, number: int) -> None:
        """The stream's checkpoint holds what was asked, or there is nothing to do."""
        with self._transaction as connection:
            requests.finish(connection, number)

    def discard_open(self, department: str | None = None, source: str | None = None) -> int:
        """Takes hidden batches away and sets their streams back to where the open part began; None: of every source.
        For a source's start, and after its reader failed. -> how many batches went."""
        with self._transaction as connection:
            chosen = [each for each in sizes(connection) if department in (None, each[0]) and source in (None, each[1])]
            streams = [stream for each in chosen for stream in streams_of(connection, each)]
            batches, size = discard(connection, streams)
            self._batches -= batches
            self._bytes -= size
            self._open = {each: held for each, held in self._open.items() if each not in chosen}
        with self._alone:
            self._space.give_back()
        return batches

    def arrivals(self) -> set[int]:
        """StreamRecord.ids of the streams that this process put, made or reset something in since the last call."""
        with self._alone:
            arrived, self._arrived = self._arrived, set()
        return arrived

    def seen(self, stream: int, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int]]:
        """Key digests -> (row digest, window) of those that are remembered; see `outbox.seen`."""
        found: dict[bytes, tuple[bytes, int]] = {}
        for start in range(0, len(keys), seen.LOOKUP_KEYS):
            with self._alone as connection:
                found |= seen.lookup(connection, stream, keys[start : start + seen.LOOKUP_KEYS])
        return found

    def delete(self, durable: Mapping[int, tuple[int, int]]) -> int:
        """Deletes, by StreamRecord.id, every batch up to and including (epoch, seq): the collector has them. -> how many."""
        try:
            return self._delete(durable)
        except OutboxFull:  # others filled the disk: what the log holds makes room within it
            with self._alone as connection:
                connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            return self._delete(durable)

    def _delete(self, durable: Mapping[int, tuple[int, int]]) -> int:
        gone, size = 0, 0
        with self._transaction as connection:
            for stream, (epoch, seq) in durable.items():
                deleted = connection.execute(
                    "DELETE FROM batch WHERE stream = ? AND (epoch, seq) <= (?, ?) RETURNING size", (stream, epoch, seq)
                ).fetchall()
                gone += len(deleted)
                size += sum(each for (each,) in deleted)
            self._batches -= gone
            self._bytes -= size
        with self._alone:
            self._space.give_back()
        return gone

    def hold(self, stream: int, hold: Hold) -> None:
        """Keeps what the collector holds of a stream where the two do not fit together."""
        self._set_hold(stream, hold)

    def release(self, stream: int) -> None:
        """Collector and outbox fit together again."""
        self._set_hold(stream, Hold("", "", 0, 0, b""))

    def reset(self, name: StreamName, *, who: str, why: str) -> StreamRecord:
        """Starts a stream anew, from any process; see `resetting`. Raises StreamUnknown."""
        with self._transaction as connection:
            if find(connection, name) is None:
                raise StreamUnknown(f"{name}: the outbox knows no such stream")
            new = reset(connection, name, at_us=self._clock.now_us(), who=who, why=why)
            self._count(connection)
        self._announce([new.id])
        return new

    def look(self) -> None:
        """Commands are other processes, and may have taken batches away: `acknowledge` where there is no line, `reset`."""
        with self._alone:
            self._count_again_if_others_wrote()

    def state(self) -> OutboxState:
        """How full it is, for status and heartbeats."""
        with self._alone:
            batches, size, full = self._batches, self._bytes, self._full
        return OutboxState(batches, size, self._room.cap, self._room.free(self._room.folder), full)

    def close(self) -> None:
        with self._alone as connection:
            connection.close()

    def _keep(self, connection: sqlite3.Connection, puts: Sequence[StreamPut], size: int, *, hidden: bool) -> None:
        gone = []
        for put in puts:
            if not keep(connection, put, self._schemas, clock=self._clock, hidden=hidden):
                gone.append(put.before.name)
            self._batches += len(put.batches)
        if gone:
            raise Superseded(gone)
        guard_streams(connection, [put.before.id for put in puts])
        self._bytes += size

    def _kept(self, puts: Sequence[StreamPut], shown: Sequence[int], size: int) -> None:
        """After the commit. shown: StreamRecord.ids of streams in which readers see something new."""
        self.sealed.add(puts)
        for put in puts:
            for schema in put.schemas:
                self._schemas.add(schema.fingerprint)
        if self._space.log_may_be_long(size):
            with self._alone:
                self._space.bound_log()
        if shown:
            self._announce(shown)

    @property
    def _visible(self) -> int:
        """Bytes that readers see, and that may leave."""
        hidden: int = sum(self._open.values())
        return self._bytes - hidden

    def _check_room_of_log(self, source: Source, more: int, *, hidden: bool) -> None:
        if not hidden or self._visible:
            self.check_room(more)
            return
        try:  # nothing that is here can leave before the transaction ends
            self._room.check_cap(self._bytes, more)
        except OutboxFull as error:
            raise self._refused(source, more, f"the outbox takes at most {self._room.cap:,}", _RAISE_CAP) from error
        try:
            self._check_disk(more)
        except OutboxFull as error:
            raise self._refused(source, more, str(error), _FREE_DISK) from error
        self._full = False

    def _refused(self, source: Source, more: int, limit: str, remedy: str) -> OutboxFull:
        self._full = True
        held = self._open.get(source, 0)
        others = f" (beside {self._bytes - held:,} of other sources' transactions)" if self._bytes > held else ""
        return OutboxFull(
            f"{'/'.join(source)}: a transaction that has not ended takes {held + more:,} bytes so far{others}; {limit}",
            remedy=remedy,
        )

    def _announce(self, streams: Sequence[int]) -> None:
        with self._alone:
            self._arrived.update(streams)
        told = self.on_arrival
        if told is not None:
            told()

    def _set_hold(self, stream: int, hold: Hold) -> None:
        with self._transaction as connection:
            connection.execute(
                "UPDATE stream SET held_code = ?, held_reason = ?, held_epoch = ?, held_seq = ?, held_chain = ?"
                " WHERE id = ?",
                (hold.code, hold.reason, hold.epoch, hold.seq, hold.chain, stream),
            )
            guard_streams(connection, [stream])

    def _check_disk(self, more: int) -> None:
        if not self._space.ample(more):
            with self._alone:
                self._space.check_disk(more)

    def _begun(self) -> None:
        self._count_again_if_others_wrote()
        self._counted = self._batches, self._bytes, self._open

    def _undone(self) -> None:
        self._batches, self._bytes, self._open = self._counted

    def _failed(self, error: AgentError) -> None:
        self._full = self._full or isinstance(error, OutboxFull)

    def _count_again_if_others_wrote(self) -> None:
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._others_version:
            self._count(self._connection)
            self._others_version = version

    def _count(self, connection: sqlite3.Connection) -> None:
        self._batches, self._bytes = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM batch").fetchone()
        self._open = sizes(connection)
