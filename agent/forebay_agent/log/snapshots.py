"""The snapshots of a source's tables in mode log: which is due, and when its next part may be read and handed on.

One chunk of one table at a time, by the table's priority; the log goes on between any two. Before a chunk is read the
table is described: where the database says something else than the log did, the log first goes on to where that was
said, and only if it tells of no change on the way (PostgreSQL tells none) the table is taken anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from forebay_agent.capture.chunks import Copied, KeyedCopy, WholeCopy, same_columns
from forebay_agent.capture.log import LogRows
from forebay_agent.capture.pace import Pace
from forebay_agent.capture.snapshot import SNAPSHOT
from forebay_agent.capture.table import START
from forebay_agent.errors import AgentError, SourceDenied, SourceError, SourceUnreachable, StatementTimeout
from forebay_agent.log.putting import Rows
from forebay_agent.log.stream import LOG, RANGE, LogStream
from forebay_agent.outbox import RangeRequest
from forebay_wire.stream import StreamName

if TYPE_CHECKING:
    from forebay_agent.log.pipeline import LogPipeline

_PASSING: Final = (SourceUnreachable, SourceDenied, StatementTimeout, SourceError)


_PASSING_SECONDS: Final = 0.005
"""between looks at how far the log came"""

_ROUND_SECONDS: Final = 10.0
"""in which each table that rests is described once, if that is not more than one a look: every description is three
statements for the database, and most of what an agent takes that has nothing to do"""


class Snapshots:
    """tick: called after every batch that was read, so that whoever watches sees progress."""

    def __init__(self, pipeline: LogPipeline, pace: Pace, tick: Callable[[], None]) -> None:
        self._pipeline = pipeline
        self._pace = pace
        self._tick = tick
        self._turn = 0
        self._describe_at = float("-inf")

    def opened(self) -> None:
        """The pipeline was opened anew."""
        self._turn = 0

    @property
    def pause(self) -> float | None:
        """Seconds for which the log may be listened to before the next step; None: for as long as one likes."""
        stream = self._due()
        if stream is None:
            return None
        if isinstance(stream.copy, KeyedCopy) and stream.copy.target is not None:
            return 0.0 if self._pipeline.reader.reached(stream.copy.target) else _PASSING_SECONDS
        return 0.0 if self._pace.wait() == 0 else None

    def waits(self, name: StreamName) -> str:
        """What a stream's snapshot waits for, in words."""
        stream = next((each for each in self._pipeline.streams.values() if each.name == name), None)
        if stream is None or not stream.copying:
            return ""
        return "the snapshot waits for its daily time (snapshot_windows)" if self._pace.closed else ""

    def saw(self, stream: LogStream, rows: LogRows) -> None:
        """The log told this."""
        if isinstance(stream.copy, KeyedCopy):
            stream.copy.saw(rows)
        if stream.reread is not None:
            stream.reread.saw(rows.rows)

    def step(self) -> None:
        """Hands on what the log has passed, and reads the next part."""
        stream = self._due()
        if stream is None or self._pipeline.open:
            return
        if isinstance(stream.copy, KeyedCopy) and stream.copy.target is not None:
            if not self._pipeline.reader.reached(stream.copy.target):
                return
            self._hand_on(stream, stream.copy.finish(stream.checkpoint, LOG))
            if not stream.copying:
                return
        if self._pace.wait() == 0 and self._agrees(stream):
            self._read(stream)

    def look(self, now: float) -> None:
        """Describes, now and then, one table that is not being copied, in turn: databases that tell the log of no change of
        columns."""
        streams = [each for each in self._pipeline.streams.values() if not each.parked and not each.copying]
        for stream in streams:
            if stream.disagrees is not None:
                self._agrees(stream)
        if streams and not self._pipeline.open and now >= self._describe_at:
            self._describe_at = now + _ROUND_SECONDS / len(streams)
            self._turn += 1
            self._agrees(streams[self._turn % len(streams)])

    def take_up(self, request: RangeRequest) -> bool:
        """Begins to take a range of keys anew; whether the request needs no more waiting."""
        stream = next((each for each in self._pipeline.streams.values() if each.name == request.name), None)
        if stream is None or stream.parked or stream.checkpoint.phase == RANGE:
            return False
        if stream.checkpoint.phase != LOG:
            return True  # all of it is being copied
        bounds = request.key_range
        stream.checkpoint = stream.checkpoint.advanced(
            phase=RANGE,
            snapshot=stream.checkpoint.snapshot + 1,
            after=None,
            low=bounds.at_least,
            through=bounds.through,
        )
        work = self._pipeline.work()
        work.add(stream)
        self._pipeline.hand(work)
        return True

    def _due(self) -> LogStream | None:
        copying = [stream for stream in self._pipeline.streams.values() if stream.copying]
        begun = [stream for stream in copying if stream.copy is not None]
        return min(begun or copying, key=lambda stream: stream.config.priority, default=None)

    def _read(self, stream: LogStream) -> None:
        pipeline, captured = self._pipeline, stream.captured
        checkpoint = stream.checkpoint
        if checkpoint.phase == START or (not captured.shape.key and stream.copy is None):
            checkpoint = checkpoint.advanced(phase=SNAPSHOT, snapshot=checkpoint.snapshot + 1, after=None)
            stream.checkpoint = checkpoint
        try:
            if captured.shape.key:
                if stream.copy is None:
                    stream.copy = KeyedCopy(captured, pipeline.source, self._pace)
                assert isinstance(stream.copy, KeyedCopy)
                stream.copy.begin(checkpoint, pipeline.reader, self._tick)
                return
            if stream.copy is None:
                stream.copy = WholeCopy(captured, pipeline.source, pipeline.reader)
            assert isinstance(stream.copy, WholeCopy)
            self._hand_on(stream, stream.copy.next(checkpoint, LOG))
        except _PASSING:
            raise
        except AgentError as error:
            stream.leave_copy()
            if self._agrees(stream):  # or else it was defined otherwise since it was looked at
                work = pipeline.work()
                pipeline.park(work, stream, error)
                pipeline.hand(work)

    def _hand_on(self, stream: LogStream, copied: Copied) -> None:
        key_range, shape = stream.key_range, stream.captured.shape
        stream.checkpoint = copied.checkpoint
        work = self._pipeline.work()
        work.add(stream, Rows(shape, copied.rows, copied.checkpoint.snapshot, copied.last, key_range=key_range))
        if copied.fills is not None:
            work.add(stream, Rows(shape, copied.fills))
        if copied.last:
            stream.copy = None
        self._pipeline.hand(work)

    def _agrees(self, stream: LogStream) -> bool:
        """Whether the database describes the table as the log did. Parks the stream, or begins it anew, where it must be."""
        pipeline, captured = self._pipeline, stream.captured
        try:
            described = captured.describe()
            if same_columns(described, captured.shape) and described.identity == captured.shape.identity:
                stream.disagrees = None
                return True
            if stream.disagrees is None:
                stream.disagrees = (pipeline.source.log_end(), described)
            target, _ = stream.disagrees
            if pipeline.open or not pipeline.reader.reached(target):
                return False
            stream.disagrees = None
            captured.refuse_another(stream.checkpoint, described)
        except _PASSING:
            raise
        except AgentError as error:
            if pipeline.open:
                return False
            work = pipeline.work()
            pipeline.park(work, stream, error)
            pipeline.hand(work)
            return False
        before, captured.shape = captured.shape, described
        work = pipeline.work()
        columns = ", ".join(sorted({c.name for c in before.columns} ^ {c.name for c in described.columns}))
        pipeline.anew(work, stream, f"the table is described otherwise{': ' + columns if columns else ''}")
        pipeline.refollow()
        work.log = pipeline.log
        pipeline.hand(work)
        return False
