"""The reader of one slot: pieces of the log, and how far it was handed on.

    server -> Stream (libpq) -> LogScanner (kernel) -> one TableDecoder per table -> pieces
                  streamed transactions: Streamed, until they commit, then the scanner again

A piece ends at a transaction's end where one comes in time; one that tells of a table to be read anew, where the log has
passed what the catalogue said of the table, so that the reading is of a later place than anything it tells. Its checkpoint is the end of the last transaction that was
finished; where nothing is under way, the server's keepalives move it on, so that tables that rest never pin the log.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from forebay_agent.capture.log import LogPiece, LogTable, TableEvent
from forebay_agent.capture.postgresql.canary import text_of
from forebay_agent.capture.postgresql.log.checkpoint import LogCheckpoint, lsn_text
from forebay_agent.capture.postgresql.log.publication import Publication
from forebay_agent.capture.postgresql.log.stream import Stream
from forebay_agent.capture.postgresql.log.streamed import Replay, Spilled, Streamed
from forebay_agent.capture.postgresql.log.tables import Tables
from forebay_agent.capture.postgresql.log.visibility import HandedOn, Snapshot
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.source import TableName
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import LogUnreadable
from forebay_agent.kernel.pgoutput import FULL, MESSAGE, SEGMENT, UNFIT, WAITING, LogScanner

_IDLE_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 30.0
_REACHING_MS: Final = 5
_HOLDING_SECONDS: Final = 0.005


class PostgreSQLLogReader:
    """See `LogReader`. start: where it begins, with what is known of tables. session: opens one for its catalogue queries.
    spill: makes a new spill."""

    def __init__(
        self,
        config: SourceConfig,
        session: Callable[[], Session],
        stream: Stream,
        published: Publication,
        start: LogCheckpoint,
        spill: Callable[[], Spilled],
    ) -> None:
        self._config = config
        self._open_session = session
        self._own_session: Session | None = None
        self._stream = stream
        self._scanner = LogScanner(each_relation=True)
        self._start = start
        self._lsn = self._passed = start.lsn
        self._streamed = Streamed(spill)
        self._replay: Replay | None = None
        self._tables = Tables(config, self._session, self._scanner, published, start.tables)
        self._handed_on = HandedOn(self._session)
        self._open = False  # within a transaction of which rows were handed on
        self._told_at = self._looked_at = time.monotonic()
        self._messages: list[str] = []  # of canaries
        self._news = False  # what is known changed, and no checkpoint holds it yet
        self._acknowledged = ""
        self.checkpoint = start.to_json()

    def follow(self, tables: Sequence[LogTable]) -> None:
        known = self._tables.known
        self._tables.follow(tables, lsn_text(self._passed))
        self._news = self._news or known != self._tables.known

    def opened(self) -> None:
        """The first tables are followed: `checkpoint` holds what is known of them."""
        self._news = False
        self.checkpoint = self._checkpoint()

    def read(self, until: float, *, rows: int, size: int) -> LogPiece | None:
        self._scanner.most_rows, self._scanner.most_bytes = rows, size
        looked = self._looked()
        if looked or self._tables.waiting or self._news:
            return self._piece(looked)
        while True:
            if self._tables.waiting:  # held
                if not self._tables.unsure(self._end()):
                    return self._piece()
                self._stream.ask()
            listen = min(until, time.monotonic() + _HOLDING_SECONDS) if self._tables.waiting else until
            stop = self._replayed() if self._replay is not None else self._stream.drain(self._scanner, listen)
            if stop in (FULL, UNFIT):
                return self._piece()
            if stop == SEGMENT:
                self._streamed.put(*self._scanner.take_segment())
            elif stop == MESSAGE:
                events = self._message()
                if self._tables.unsure(self._end()):
                    self._tables.hold(events)
                elif events or self._tables.waiting:
                    return self._piece(events)
            if time.monotonic() >= until:
                return self._at_time()

    def wait(self, seconds: float) -> bool:
        if not (self._tables.waiting or self._news or self._replay):
            self._stream.wait(round(seconds * 1000))
        return True  # `read` looks at the tables too, of which the log tells late or never

    def reached(self, checkpoint: str) -> bool:
        target = LogCheckpoint.from_json(checkpoint).lsn
        if self._passed >= target:
            return True
        self._stream.ask()
        self._stream.wait(_REACHING_MS)
        return False

    def acknowledge(self, checkpoint: str) -> None:
        if checkpoint == self._acknowledged:
            self._stream.keep_alive()
            return
        self._acknowledged = checkpoint
        self._stream.acknowledge(LogCheckpoint.from_json(checkpoint).lsn)

    def seen_by(self, snapshot: Snapshot) -> bool:
        """Whether everything that was handed on is visible in the snapshot."""
        return self._handed_on.all_seen_by(snapshot)

    def copied(self, table: TableName) -> None:
        """A part of the table was read, as it is now."""
        self._tables.copied(table)

    def close(self) -> None:
        self._stream.close()
        if self._replay is not None:
            self._replay.close()
        self._streamed.close()
        if self._own_session is not None:
            self._own_session.close()

    def _session(self) -> Session:
        if self._own_session is None:
            self._own_session = self._open_session()
        return self._own_session

    def _replayed(self) -> int:
        """One step of a committed transaction that was streamed."""
        self._stream.keep_alive()
        replay = self._replay
        assert replay is not None
        if not replay.more():
            self._scanner.end_streamed()
            replay.close()
            self._replay = None
            return FULL if self._tables.full(self._scanner.most_rows) else WAITING
        try:
            stop, replay.at = self._scanner.replay(replay.segment, replay.at)
        except ValueError as error:
            raise LogUnreadable(f"{self._config.name}: {error}") from None
        return stop

    def _message(self) -> list[TableEvent]:
        """What the scanner leaves to us."""
        message = self._scanner.message or b""
        kind = message[:1]
        try:
            if kind == b"R":
                return self._tables.relation(message, self._scanner.final_lsn, self._position)
            if kind == b"T":
                return self._truncated(message)
            if kind == b"c":
                self._replay = self._streamed.commit(message)
                self._scanner.begin_streamed(message, self._replay.aborted)
                return []
            if kind == b"A":
                self._streamed.abort(message)
                return []
            if kind == b"M":
                text = text_of(message)
                self._messages += [text] if text is not None else []
                return []
        except (ValueError, struct.error) as error:
            raise self._unreadable(str(error)) from None
        raise self._unreadable(f"message type {kind!r} is not known")

    def _truncated(self, message: bytes) -> list[TableEvent]:
        (count,) = struct.unpack_from("!I", message, 1)
        if len(message) != 6 + 4 * count:
            raise ValueError("a Truncate message is not well formed")
        oids = struct.unpack_from(f"!{count}I", message, 6)
        return self._tables.truncated(oids, self._scanner.final_lsn, self._position)

    def _unreadable(self, reason: str) -> LogUnreadable:
        return LogUnreadable(f"{self._config.name}: at {lsn_text(self._scanner.lsn)}: {reason}")

    @property
    def _position(self) -> str:
        return lsn_text(self._scanner.final_lsn if self._within else self._scanner.lsn)

    @property
    def _within(self) -> bool:
        return self._scanner.open or self._replay is not None

    def _end(self) -> int:
        """How far the log was handed on once the decoders are empty."""
        passed = max(self._passed, self._scanner.commit_end)
        return passed if self._within else max(passed, self._scanner.keepalive_end)

    def _at_time(self) -> LogPiece | None:
        """The time is over."""
        within = self._within
        news = self._tables.rows or self._tables.waiting or self._messages
        if news or (self._open and not within):
            return self._piece()
        end = self._end()
        if not within and end > self._lsn and time.monotonic() - self._told_at >= _IDLE_SECONDS:
            return self._piece()
        if not within and self._tables.due(end):
            return self._piece()
        self._hand_on(end)
        return None

    def _looked(self) -> list[TableEvent]:
        """What was seen of the tables whose turn it is."""
        if self._within:
            return []
        share = (time.monotonic() - self._looked_at) / _LOOK_SECONDS
        self._looked_at = time.monotonic()
        return self._tables.look(share, lsn_text(self._end()))

    def _piece(self, events: Sequence[TableEvent] = ()) -> LogPiece:
        within, end = self._within, self._end()
        position = lsn_text(end)
        more = list(events)
        if not within:
            more += self._tables.passed(end, position)
        parts = tuple(self._tables.take(more))
        self._open = within and (bool(parts) or self._open)
        self._hand_on(end)
        self._lsn, self._told_at, self._news = end, time.monotonic(), False
        committed_at = self._scanner.committed_at if parts else 0
        messages, self._messages = tuple(self._messages), []
        return LogPiece(parts, self._checkpoint(), position, self._open, committed_at, messages)

    def _hand_on(self, end: int) -> None:
        self._passed = end
        self._handed_on.add(self._scanner.take_xids())
        self._stream.handed_on(end)

    def _checkpoint(self) -> str:
        return replace(self._start, lsn=self._lsn, tables=self._tables.known).to_json()
