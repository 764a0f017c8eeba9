"""Log capture of one source: one reader for all its tables in mode log, and their snapshots interleaved with it.

    reader.read -> pieces -> (sealer's thread) transform, seal, one outbox transaction with the log checkpoint
                              next piece is read meanwhile; then the outbox's checkpoint is acknowledged to the database

`step` is one round on the source's thread. After an error the pipeline is closed and opened anew from the outbox's log
checkpoint: nothing that was in flight counts. Only a full outbox is waited for with everything in place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Final

from forebay_agent.capture.chunks import CHUNK_BYTES
from forebay_agent.capture.log import EventKind, LogPiece, LogReader, LogRows, LogSource, TableEvent
from forebay_agent.capture.pace import Pace
from forebay_agent.capture.source import TableName
from forebay_agent.capture.table import empty
from forebay_agent.clock import Clock
from forebay_agent.config.model import SourceConfig, TableConfig
from forebay_agent.errors import AgentError, OutboxFull, SourceError
from forebay_agent.lane import HELD_SECONDS
from forebay_agent.log.opening import Opening
from forebay_agent.log.putting import Anew, LogSealer, Rows, Work
from forebay_agent.log.retention import RetentionWatch
from forebay_agent.log.snapshots import Snapshots
from forebay_agent.log.stream import LOG, LogStream, error_of, guarantee_of, parking
from forebay_agent.outbox import LogRecord, Outbox, Superseded
from forebay_agent.stream_state import Board
from forebay_wire.digest import DigestAlgorithm
from forebay_wire.stream import StreamName

PIECE_ROWS: Final = 25_000
PIECE_BYTES: Final = 16 << 20
_LOOK_SECONDS: Final = 1.0
_QUIET_SECONDS: Final = 1.0  # for which a log in which nothing came is listened to: an idle agent takes little
_IDLE_SECONDS: Final = 5.0  # between puts that move nothing but the log checkpoint


class Closed(Exception):
    """What was in flight no longer fits the outbox (a stream was reset): open anew."""


class LogPipeline:
    """All tables in mode log of one source. `step`, `drain` and `close` are called on the source's thread."""

    def __init__(
        self,
        config: SourceConfig,
        department: str,
        tables: Sequence[tuple[StreamName, TableConfig]],
        session: Callable[[], LogSource],
        outbox: Outbox,
        sealer: Executor,
        board: Board,
        clock: Clock,
        algorithm: DigestAlgorithm,
        *,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._department = department
        self._session = session
        self._outbox = outbox
        self._executor = sealer
        self._board = board
        self._clock = clock
        self._tick = tick
        self._sealer = LogSealer(department, config.name, outbox, board, clock.now_us)
        self._opening = Opening(config, department, tables, outbox, clock, algorithm)
        pace = Pace(config.chunk_time.total_seconds(), config.max_rows_per_second, config.snapshot_windows, CHUNK_BYTES)
        self._snapshots = Snapshots(self, pace, tick)
        self._queue: deque[Work] = deque()
        self._in_flight: Future[None] | None = None
        self._reader: LogReader | None = None
        self._retention = RetentionWatch(session, board, clock)
        self._handed_at = self._looked = self._open_at = self._retry_at = float("-inf")
        self._troubled: dict[StreamName, int] = {}  # streams that could not be opened, and their epochs
        self._parked: dict[StreamName, int] = {}  # likewise those that are parked
        self._names = frozenset(name for name, _ in tables)
        self._paused: frozenset[StreamName] = frozenset()
        self.streams: dict[TableName, LogStream] = {}
        self.log = LogRecord("", frozenset())
        """as everything that was handed to the sealer leads to it"""
        self._quiet = False  # nothing came when it was read last, and nothing is in hand
        self.open = False
        """within a transaction that is not at its end"""
        self.heard: Callable[[str], None] = lambda _: None
        """is told each message that the log holds of a canary"""

    @property
    def reader(self) -> LogReader:
        assert self._reader is not None
        return self._reader

    @property
    def source(self) -> LogSource:
        return self._session()

    def step(self) -> bool:
        """One round; whether there is more to do at once.

        Raises: OutboxFull (nothing was lost, step again later); anything else: close, and step again later.
        """
        if self._names <= self._paused:
            self.watch_retention()
            return False
        try:
            self._hand_over(all_of_it=False)
            if self._reader is None:
                self._open()
            piece = None
            listen = self._snapshots.pause if self._reader is not None else None
            if self._reader is not None and self._followed():
                pause = self._config.linger.total_seconds() if listen is None else listen
                if not self._quiet or listen is not None or self._reader.wait(_QUIET_SECONDS):
                    piece = self._reader.read(self._clock.monotonic() + pause, rows=PIECE_ROWS, size=PIECE_BYTES)
                if piece is not None:
                    self._take(piece)
                self._snapshots.step()
                self._hand_over(all_of_it=False)
                self._quiet = not (piece or self.open or self._queue)
            self._look()
        except OutboxFull:
            raise
        except (Closed, Superseded):
            self.close()
            return True
        except BaseException:
            self.close()
            raise
        return piece is not None or listen is not None

    def drain(self, until: float, stopping: Callable[[], bool]) -> bool:
        """Captures everything that is committed now, snapshots under way too, until it is in the outbox; whether that was all.
        Raises as `step`."""
        target, reached = None, False
        while not reached and not stopping() and self._clock.monotonic() < until:
            self._tick()
            more = self.step()
            if self.listening:
                target = target or self.source.log_end()
                reached = not self.open and self.reader.reached(target) and not self._copying()
            else:
                reached = not more  # else it was closed in order to be opened anew
        self._hand_over(all_of_it=True)
        return reached

    def capture_as(self, tables: Sequence[tuple[StreamName, TableConfig]]) -> None:
        """The streams' entries are these from here on: what is captured of a table changed."""
        self.close()
        self._opening.tables = tables

    def pause(self, names: frozenset[StreamName]) -> None:
        """These streams stand still from here on. Where all do, the log waits where it was captured to; where some do, it goes
        on without them, and they begin their next epoch, with a new snapshot, when they are paused no more (`Opening`)."""
        if names & self._names == self._paused:
            return
        self._paused = names & self._names
        self._retention.anew()
        self.close()
        if self._names <= self._paused:
            self._outbox.discard_open(self._department, self._config.name)
        else:
            for name in self._paused:
                self._board.update(name, log_hours_left=None, log_bytes_behind=0)

    @property
    def listening(self) -> bool:
        """Whether `step` waits for news by itself."""
        return self._reader is not None and self._followed()

    def has_own_trouble(self, name: StreamName) -> bool:
        """Whether a stream has a trouble of its own, which is shown; as known when the log was open last."""
        epoch = self._troubled.get(name) or self._parked.get(name)
        return epoch is not None and epoch == self._outbox.stream(name).epoch

    @property
    def durable(self) -> str:
        """How far the log was captured, as the outbox holds it."""
        return self._sealer.durable

    def reached(self, checkpoint: str) -> bool:
        """Whether an open log was read up to this checkpoint of it. Raises as `step`."""
        return self.listening and not self.open and self.reader.reached(checkpoint)

    def at_end(self) -> bool:
        """Whether the log was read to where it ends now. Raises as `step`."""
        return self.listening and self.reached(self.source.log_end())

    def waits(self, name: StreamName) -> str:
        """What a stream in no trouble waits for, in words."""
        return self._snapshots.waits(name)

    def hand(self, work: Work) -> None:
        """Gives work to the sealer's thread; at most one more waits behind it."""
        self._queue.append(work)
        self._hand_over(all_of_it=False)

    def work(self, *, ends: bool = True) -> Work:
        """An empty piece of work at the place where the log is now."""
        return Work(self.log, open=self.open and not ends)

    def park(self, work: Work, stream: LogStream, error: AgentError, where: str = "") -> None:
        """The log goes on without the stream. where: the place and what stands there, for people."""
        stream.leave_copy()
        work.flush(stream)
        stream.checkpoint = parking(stream.checkpoint, error, where)
        work.add(stream)
        self.refollow()

    def anew(self, work: Work, stream: LogStream, why: str, *, is_empty: bool = False) -> None:
        """The stream's next epoch: a new snapshot, or none where the table is known to be empty."""
        stream.leave_copy()
        work.flush(stream)
        stream.disagrees = None
        stream.checkpoint = stream.captured.claim(type(stream.checkpoint)())
        work.add(stream, Anew(why))
        if is_empty or not stream.config.snapshot:
            self.without_snapshot(work, stream)

    def without_snapshot(self, work: Work, stream: LogStream) -> None:
        """An epoch whose snapshot holds nothing."""
        stream.checkpoint = stream.checkpoint.advanced(phase=LOG, snapshot=stream.checkpoint.snapshot + 1)
        shape = stream.captured.shape
        nothing = stream.captured.finished(empty(shape), "r", "")
        work.add(stream, Rows(shape, nothing, stream.checkpoint.snapshot, last_of_snapshot=True))

    def handed_over(self) -> None:
        """Returns when everything that was handed is in the outbox. Raises what the sealer's thread met."""
        self._hand_over(all_of_it=True)

    def close(self) -> None:
        """Forgets what is in flight. Never raises."""
        reader, self._reader = self._reader, None
        if self._in_flight is not None:
            self._in_flight.exception()
            self._in_flight = None
        self._queue.clear()
        for stream in self.streams.values():
            stream.leave_copy()
        self.streams = {}
        self.open = self._quiet = False
        self._open_at = float("-inf")
        if reader is not None:
            reader.close()

    def _copying(self) -> bool:
        """Whether a snapshot is under way that need not wait for its daily time."""
        return any(stream.copying and not self._snapshots.waits(stream.name) for stream in self.streams.values())

    def _open(self) -> None:
        if self._clock.monotonic() < self._open_at:
            return
        self._open_at = self._clock.monotonic() + HELD_SECONDS  # when there is nothing that can follow
        source = self._session()
        opened = self._opening.open(source, self._paused)
        for name, error in opened.troubles.items():
            self._board.capturing(name, error)
        self.streams = {stream.table: stream for stream in opened.streams}
        self._reader = opened.reader
        self.log = opened.log
        owned = {*self._troubled, *self._parked}
        self._troubled = {name: self._outbox.stream(name).epoch for name in opened.troubles}
        self._parked.clear()
        self._sealer.durable = opened.log.checkpoint
        for stream in opened.streams:
            self._sealer.show(stream)
            self._board.update(stream.name, guarantee=guarantee_of(stream.captured.shape, stream.config))
            if stream.name in owned and not stream.parked:
                self._board.capturing(stream.name, None)
        self._snapshots.opened()

    def _take(self, piece: LogPiece) -> None:
        was_open = self.open
        for message in piece.messages:
            self.heard(message)
        self.log = LogRecord(piece.checkpoint, self.log.tables)
        self.open = piece.open
        work = Work(self.log, open=piece.open, committed_at_us=piece.committed_at_us)
        for part in piece.parts:
            stream = self.streams.get(part.table)
            if stream is None or stream.parked:
                continue
            if isinstance(part, LogRows):
                self._snapshots.saw(stream, part)
                work.take(stream, part, open_after=self.open)
            else:
                self._take_event(work, stream, part)
        if not piece.open:
            for stream in self.streams.values():
                work.flush(stream)
        now = self._clock.monotonic()
        if work.streams or was_open or now - self._handed_at >= _IDLE_SECONDS:
            self._handed_at = now
            self.hand(work)

    def _take_event(self, work: Work, stream: LogStream, event: TableEvent) -> None:
        if event.kind is EventKind.LOST:
            error = event.error or SourceError(f"{stream.table}: {event.reason}")
            says = "" if event.reason in str(error) else f": {event.reason}"
            self.park(work, stream, error, "" if event.position in str(error) else f"at {event.position}{says}")
            return
        if event.shape is not None:
            stream.leave_copy()  # it was read with other columns
            stream.captured.shape = event.shape
        if event.kind is not EventKind.GREW:
            why = f"{event.kind.value} at {event.position}: {event.reason}"
            self.anew(work, stream, why, is_empty=event.kind is EventKind.TRUNCATED)

    def _followed(self) -> bool:
        return any(not stream.parked for stream in self.streams.values())

    def refollow(self) -> None:
        """The shapes of the followed tables changed, or which are followed."""
        followed = [stream for stream in self.streams.values() if not stream.parked]
        self.reader.follow([stream.log_table for stream in followed])
        self.log = LogRecord(self.log.checkpoint, frozenset(stream.name.table for stream in followed))

    def _hand_over(self, *, all_of_it: bool) -> None:
        """Lets the sealer's thread work; waits for it when two pieces are at hand. Raises what it met."""
        while self._queue:
            if self._in_flight is None:
                self._in_flight = self._executor.submit(self._sealer.put, self._queue[0])
            if len(self._queue) < 2 and not all_of_it and not self._in_flight.done():
                break
            running, self._in_flight = self._in_flight, None
            running.result()
            self._queue.popleft()
            self._tick()
        if self._reader is not None and self._sealer.durable:
            self._reader.acknowledge(self._sealer.durable)

    def _notice_parked(self) -> None:
        """What the sealer's thread could not seal is followed no longer; every parked stream's trouble is shown."""
        failed = [
            each for each in self.streams.values() if each.failed is not None and each.checkpoint.phase != "parked"
        ]
        for stream in failed:
            stream.leave_copy()
            stream.checkpoint = parking(stream.checkpoint, stream.failed or SourceError())
            self.refollow()
        for stream in self.streams.values():
            if stream.parked:
                self._parked[stream.name] = stream.record.epoch
                self._board.capturing(stream.name, error_of(stream.checkpoint))
                self._board.update(stream.name, log_hours_left=None, log_bytes_behind=0, log_kept="")

    def _look(self) -> None:
        """Now and then: streams that were reset, what people ask, how long the log is kept."""
        self._notice_parked()
        now = self._clock.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        self._look_for_change(now)
        if self._reader is None or not self._followed():
            return
        for stream in self.streams.values():
            if not stream.parked:
                self._board.update(stream.name, waits=self.waits(stream.name), last_poll_at_us=self._clock.now_us())
        self._snapshots.look(now)
        self._take_up_requests()
        self.watch_retention()

    def watch_retention(self) -> None:
        """Shows now and then how long the database keeps what was not captured: also while a trouble holds the log, and
        while all of its streams are paused."""
        if not self._retention.due:
            return
        log = self._outbox.log(self._department, self._config.name)
        durable = self._sealer.durable or (log.checkpoint if log is not None else "")
        shown = self._names if self._names <= self._paused else self._names - self._paused
        self._retention.look(durable, [name for name in shown if not self.has_own_trouble(name)])

    def _take_up_requests(self) -> None:
        if not self.open:
            for request in self._outbox.range_requests(self._department, self._config.name):
                if self._snapshots.take_up(request):
                    self._hand_over(all_of_it=True)
                    self._outbox.finish_request(request.id)

    def _look_for_change(self, now: float) -> None:
        """Raises Closed when a stream was reset, or one that could not be opened can be."""
        if self._queue:
            return
        epochs = {stream.name: stream.record.epoch for stream in self.streams.values()} | self._troubled
        if any(self._outbox.stream(name).epoch > epoch for name, epoch in epochs.items()):
            raise Closed
        if self._troubled and now >= self._retry_at:
            self._retry_at = now + HELD_SECONDS
            for name in self._troubled:
                error = self._opening.trouble_of(self.source, name)
                if error is None:
                    raise Closed
                self._board.capturing(name, error)
