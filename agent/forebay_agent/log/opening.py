"""Opening the log of a source: which streams can follow it, from where, and what becomes of those that cannot.

never captured            -> start: a snapshot beside the log
captured with other columns, or other masks -> its next epoch, with a new snapshot
followed up to now        -> goes on where it was
not followed meanwhile    -> its next epoch, with a new snapshot: changes went by unseen
parked                    -> stays so until it is taken anew
the log no longer holds what was not captured (a gap) -> every stream that needed it is parked with the gap's bounds;
                          those of which nothing was sealed begin at the log's end
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from forebay_agent.approval.approvals import listed
from forebay_agent.capture.log import LogReader, LogSource, offers_log
from forebay_agent.capture.plan import describe, mode_not_offered
from forebay_agent.capture.snapshot import SNAPSHOT
from forebay_agent.capture.source import Source
from forebay_agent.capture.table import START, CapturedTable
from forebay_agent.clock import Clock
from forebay_agent.config.model import SourceConfig, TableConfig
from forebay_agent.errors import (
    AgentError,
    LogGap,
    SourceDenied,
    SourceReplaced,
    SourceUnreachable,
    StatementTimeout,
)
from forebay_agent.log.putting import AGENT
from forebay_agent.log.stream import LOG, RANGE, LogStream, parking
from forebay_agent.outbox import LogRecord, NewEpoch, Outbox, StreamPut
from forebay_agent.pipeline import checkpoint_of, refuse_unfit
from forebay_agent.sealing import Sealing
from forebay_agent.taking_up import left_out, widened
from forebay_agent.transform import Transform
from forebay_wire.digest import DigestAlgorithm
from forebay_wire.stream import StreamName

_PASSING: Final = (SourceUnreachable, SourceDenied, StatementTimeout)
_UNDER_WAY: Final = (SNAPSHOT, LOG, RANGE)
_NOWHERE: Final = LogRecord("", frozenset())


@dataclass(slots=True)
class Opened:
    """reader: None when no stream can follow. troubles: streams that could not be opened at all."""

    streams: list[LogStream] = field(default_factory=list)
    troubles: dict[StreamName, AgentError] = field(default_factory=dict)
    reader: LogReader | None = None
    log: LogRecord = _NOWHERE


class Opening:
    """Opens; holds nothing open itself."""

    def __init__(
        self,
        config: SourceConfig,
        department: str,
        tables: Sequence[tuple[StreamName, TableConfig]],
        outbox: Outbox,
        clock: Clock,
        algorithm: DigestAlgorithm,
    ) -> None:
        self._config = config
        self._department = department
        self.tables = tables
        self._outbox = outbox
        self._clock = clock
        self._algorithm = algorithm

    def open(self, source: Source, paused: frozenset[StreamName] = frozenset()) -> Opened:
        """Describes every table that is not paused, opens the reader, and keeps in the outbox, before anything is read, where it begins.

        Raises: what concerns the source as a whole. A table's own trouble is in `troubles`, or parks its stream.
        """
        if not offers_log(source):
            raise mode_not_offered(self.tables[0][1])
        self._outbox.discard_open(self._department, self._config.name)
        log = self._outbox.log(self._department, self._config.name)
        opened = Opened()
        puts: list[StreamPut] = []
        for name, table in self.tables:
            if name in paused:
                continue
            try:
                opened.streams.append(self._stream(source, name, table, log, puts))
            except _PASSING:
                raise
            except AgentError as error:
                opened.troubles[name] = error
        self._open_reader(source, opened, log, puts)
        if opened.reader is not None:
            followed = frozenset(stream.name.table for stream in opened.streams if not stream.parked)
            opened.log = LogRecord(opened.reader.checkpoint, followed)
            self._outbox.put_log(self._department, self._config.name, puts, opened.log, open=False)
            return opened
        for trouble in opened.troubles.values():
            if isinstance(trouble, SourceReplaced):  # nothing of this server is followed
                raise trouble
        return opened

    def trouble_of(self, source: Source, name: StreamName) -> AgentError | None:
        """Whether a stream that could not be opened still cannot."""
        table = next(table for each, table in self.tables if each == name)
        try:
            self._stream(source, name, table, self._outbox.log(self._department, self._config.name), [])
        except _PASSING:
            raise
        except AgentError as error:
            return error
        return None

    def _open_reader(self, source: LogSource, opened: Opened, log: LogRecord | None, puts: list[StreamPut]) -> None:
        followed = [stream for stream in opened.streams if not stream.parked]
        if not followed:
            return
        beginning = [stream for stream in followed if _is_fresh(stream)]
        goes_on = log is not None and len(beginning) < len(followed)
        try:
            checkpoint = log.checkpoint if log is not None and goes_on else None
            opened.reader = source.open_log([stream.log_table for stream in followed], checkpoint)
        except LogGap as gap:
            puts += [_parked(stream, gap) for stream in followed if not _is_fresh(stream)]
            if beginning:
                opened.reader = source.open_log([stream.log_table for stream in beginning], None)
            else:
                self._outbox.put_log(self._department, self._config.name, puts, log or _NOWHERE, open=False)
                puts.clear()

    def _stream(
        self, source: Source, name: StreamName, table: TableConfig, log: LogRecord | None, puts: list[StreamPut]
    ) -> LogStream:
        record = self._outbox.stream(name)
        refuse_unfit(record)
        shape = describe(source, table)
        captured = CapturedTable(
            source, shape, lambda: describe(source, table), table, self._config.batch_rows, self._clock.monotonic
        )
        before = checkpoint_of(record)
        checkpoint = captured.claim(before)
        sealing = Sealing(name, shape, lambda shape: Transform(shape, table), self._clock, self._algorithm)
        stream = LogStream(name, table, captured, sealing, record, checkpoint)
        why = ""
        if before.plan not in ("", checkpoint.plan) and record.next_seq > 1:
            why = "mode, key or cursor of the table's entry changed"
        elif not _is_fresh(stream) and not stream.parked and (log is None or name.table not in log.tables):
            why = "the log went on while this table was not followed"
        elif checkpoint.phase in _UNDER_WAY and (
            added := widened(self._outbox, before, table, sealing.transform.schema)
        ):
            why = f"these columns were not captured before, or under another mask: {listed(added)}"
        elif not stream.parked and (gone := left_out(self._outbox, before, table, sealing.transform.schema)):
            why = f"these columns are not captured any more, or as another type: {listed(gone)}"
        if why:
            stream.checkpoint = checkpoint = captured.claim(type(checkpoint)())
            after = replace(record.next_epoch(), checkpoint=checkpoint.to_json())
            epoch = NewEpoch(after.epoch, record.next_seq, record.checkpoint, AGENT, why)
            puts.append(StreamPut(record, after, (), (), (epoch,)))
            stream.record = after
        elif before.selection != checkpoint.selection and before.phase != START:
            after = replace(record, checkpoint=before.advanced(selection=checkpoint.selection).to_json())
            puts.append(StreamPut(record, after, ()))
            stream.record = after
        return stream


def _is_fresh(stream: LogStream) -> bool:
    """Whether nothing of the stream's epoch was sealed: its snapshot tells all, from wherever the log is read on. One that
    waits for its snapshot may have told of changes already, and needs every later one of the same keys."""
    return stream.checkpoint.phase == START and stream.record.next_seq == 1


def _parked(stream: LogStream, gap: LogGap) -> StreamPut:
    stream.checkpoint = parking(stream.checkpoint, gap)
    after = replace(stream.record, checkpoint=stream.checkpoint.to_json())
    put = StreamPut(stream.record, after, (), (), ())
    stream.record = after
    return put
