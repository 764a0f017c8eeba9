"""The canary of one source: made at the source, sent as a batch of its own, known to be alive once it is loaded.

    row       a row of a table made for it is written; then it is read back, or in mode log the log has to come past it
    message   a message is written to PostgreSQL's log and has to come back through it
    read      the source's clock is asked; in mode log the log has to come to where it ended by then

So in mode log a canary says that the log is read, in every mode that the database answers, and always that outbox,
uplink, collector, loader and platform take what comes. At most one is on its way: while the centre cannot be reached none
is made, so that the outbox holds one. Its stream is `forebay_wire.canary`'s; nothing of the department's is in it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from forebay_agent import journal
from forebay_agent.capture.canary import ROW_AT, ROW_ID, writes_message, writes_row
from forebay_agent.capture.captured import Checkpoint
from forebay_agent.capture.log import offers_log
from forebay_agent.capture.source import RowRange, Source, TableName
from forebay_agent.clock import Clock
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import (
    AgentError,
    CollectorBehind,
    LogUnfit,
    OutboxDamaged,
    SourceDenied,
    SourceError,
    SourceUnreachable,
    StateFolderUnusable,
    StateLost,
    TableMisconfigured,
)
from forebay_agent.log.pipeline import LogPipeline
from forebay_agent.log.putting import AGENT
from forebay_agent.outbox import Outbox, StreamRecord, Superseded
from forebay_agent.pipeline import checkpoint_of
from forebay_agent.stream_state import Board, Trouble
from forebay_wire import canary
from forebay_wire.canary import CanaryKind
from forebay_wire.columns import Op
from forebay_wire.digest import DigestAlgorithm
from forebay_wire.seal import seal
from forebay_wire.v1 import control_pb2

FIRST_SECONDS: Final = 15.0
"""after the source was taken up, at most"""

_PHASE: Final = "canary"
_NOT_YET: Final = "the canary before has not reached the centre yet: none is made while it waits"


@dataclass(frozen=True, slots=True)
class _Made:
    """at_us: by the source's clock. began_us: by ours, before it was made. message: what has to come back through the log.
    target: a log checkpoint that has to be reached."""

    kind: CanaryKind
    at_us: int
    began_us: int
    message: str = ""
    target: str = ""


class Canary:
    """`step` and `heard` are called on the source's thread, `state` by any."""

    def __init__(
        self,
        config: SourceConfig,
        department: str,
        outbox: Outbox,
        board: Board,
        clock: Clock,
        algorithm: DigestAlgorithm,
    ) -> None:
        self.state = control_pb2.CanaryState(source=config.name)
        self._config = config
        self._stream = canary.stream_of(department, config.name)
        self._row = f"{department}/{config.name}"
        self._outbox = outbox
        self._board = board
        self._clock = clock
        self._algorithm = algorithm
        every = config.canary.every.total_seconds()
        self._due = clock.monotonic() + min(every, FIRST_SECONDS) if config.canary.kind != "off" else float("inf")
        self._made: _Made | None = None  # not put yet
        self._sent: tuple[int, int, _Made] | None = None  # epoch and seq of the last one that was put
        self._heard: set[str] = set()

    def heard(self, message: str) -> None:
        """The log told of this message."""
        if self._made is not None and message == self._made.message:
            self._heard.add(message)

    def step(self, session: Callable[[], Source], log: LogPipeline | None) -> None:
        """Part of every round. log: what reads the source's log; None when nothing does, or nothing is to.

        Raises: SourceUnreachable, SourceDenied; OutboxDamaged, StateFolderUnusable. Any other trouble is in `state`.
        """
        self._look_for_loaded()
        due = self._clock.monotonic() >= self._due
        if self._made is None and not due:
            return
        try:
            if due:
                self._due = self._clock.monotonic() + self._config.canary.every.total_seconds()
                self._make_next(session, log)
            if self._made is not None and self._is_back(self._made, log):
                self._put(self._made)
                self._made = None
        except (OutboxDamaged, StateFolderUnusable):
            raise
        except (SourceUnreachable, SourceDenied) as error:
            self._failed(error)
            raise
        except AgentError as error:
            self._failed(error)
        except Superseded:
            self._made = None

    def _make_next(self, session: Callable[[], Source], log: LogPipeline | None) -> None:
        if self._made is not None and log is not None:
            self._tell(reason="the log has not come yet to where the last canary was made")
        elif self._waits():
            trouble = self._board.of(self._stream).sending
            self._tell(code=trouble.code if trouble else "", reason=trouble.reason if trouble else _NOT_YET)
        else:
            self._make(session(), log)

    def _make(self, source: Source, log: LogPipeline | None) -> None:
        began_us = self._clock.now_us()
        kind = self._kind(source, log)
        at_us = source.clock_us()
        made = _Made(kind, at_us, began_us)
        if kind is CanaryKind.MESSAGE:
            assert writes_message(source)
            made = replace(made, message=f"{self._row} {at_us} {uuid.uuid4().hex}")
            self._made, self._heard = made, set()
            source.write_message(made.message)
        elif kind is CanaryKind.ROW:
            self._write_row(source, at_us)
        if log is not None and offers_log(source) and not made.message:
            made = replace(made, target=source.log_end())
        elif kind is CanaryKind.ROW:
            _read_back(source, TableName.parse(self._config.canary.table), self._row, at_us)
        self._made = made
        self._tell(made_at_us=at_us, kind=kind.value, loaded_at_us=0)

    def _kind(self, source: Source, log: LogPipeline | None) -> CanaryKind:
        """What is configured; for auto, the best that the source permits. Raises LogUnfit."""
        configured = self._config.canary
        if configured.table:
            return CanaryKind.ROW
        if configured.kind == "read" or (configured.kind == "auto" and log is None):
            return CanaryKind.READ
        if log is not None and writes_message(source) and source.messages_come_back():
            return CanaryKind.MESSAGE
        if configured.kind == "auto":
            return CanaryKind.READ
        if log is None:
            return CanaryKind.READ  # nothing is captured from the log for now
        raise LogUnfit(
            "this server's log gives no messages back (PostgreSQL does from version 14 on)",
            remedy="Set `kind` of [canary] to read, or to row with a `table`.",
        )

    def _write_row(self, source: Source, at_us: int) -> None:
        if not writes_row(source):
            raise TableMisconfigured(
                f"no canary can be written to a source of kind {self._config.kind}",
                file=self._config.file,
                key="canary.table",
                remedy="Set `kind` of [canary] to read.",
            )
        source.write_canary(TableName.parse(self._config.canary.table), self._row, at_us)

    def _is_back(self, made: _Made, log: LogPipeline | None) -> bool:
        if made.message:
            return made.message in self._heard
        return not made.target or (log is not None and log.reached(made.target))

    def _waits(self) -> bool:
        """Whether the last one is still in the outbox, as far as is known."""
        record = self._fit()
        return record.next_seq > 1 and self._board.of(self._stream).durable_seq < record.next_seq - 1

    def _put(self, made: _Made) -> None:
        """Seals it into the outbox. The first of an epoch is a snapshot of the one row that there is."""
        record = self._fit()
        self._outbox.check_room()
        first = record.next_seq == 1
        before = Checkpoint() if first else checkpoint_of(record)
        checkpoint = before.advanced(phase=_PHASE, snapshot=1, rows=before.rows + 1)
        batch = seal(
            self._stream,
            record.link,
            canary.SCHEMA,
            self._row_of(made, record, Op.READ if first else Op.UPDATE),
            captured_at_us=self._clock.now_us(),
            snapshot=1 if first else 0,
            last_of_snapshot=first,
            algorithm=self._algorithm,
        )
        self._outbox.put(record, [batch], checkpoint.to_json(), schema=canary.SCHEMA)
        self._sent = (batch.epoch, batch.seq, made)

    def _fit(self) -> StreamRecord:
        """The stream as the outbox has it. It holds nothing that could be lost: where collector and outbox do not fit together,
        it begins anew by itself."""
        record = self._outbox.stream(self._stream)
        if record.hold is not None and record.hold.code in (StateLost.code, CollectorBehind.code):
            return self._outbox.reset(self._stream, who=AGENT, why=record.hold.reason)
        return record

    def _row_of(self, made: _Made, record: StreamRecord, op: Op) -> pa.RecordBatch:
        position = f"canary:{record.next_seq}"
        values = [self._config.name, made.at_us, made.kind.value, op.value, position, made.at_us, None]
        columns = [pa.array([value], field.type) for value, field in zip(values, canary.SCHEMA.arrow, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=canary.SCHEMA.arrow)

    def _look_for_loaded(self) -> None:
        if self._sent is None:
            return
        epoch, seq, made = self._sent
        stream = self._board.of(self._stream)
        if self._outbox.stream(self._stream).epoch != epoch:
            self._sent = None
        elif stream.loaded_seq >= seq:
            self._sent = None
            at_us = stream.loaded_at_us if stream.loaded_at_us >= made.began_us else self._clock.now_us()
            self._tell(loaded_at_us=at_us, round_trip_us=max(1, at_us - made.began_us))

    def _failed(self, error: AgentError) -> None:
        self._made = None
        trouble = Trouble.of(error)
        reason = f"{trouble.reason}. {trouble.remedy}"
        if (self.state.code, self.state.reason) != (trouble.code, reason):
            journal.warning("no canary", source=self._config.name, code=trouble.code, reason=trouble.reason)
        self._tell(code=trouble.code, reason=reason)

    def _tell(self, *, code: str = "", reason: str = "", **changes: object) -> None:
        """The state is replaced as a whole: other threads read it."""
        state = control_pb2.CanaryState()
        state.CopyFrom(self.state)
        state.code, state.reason = code, reason
        for name, value in changes.items():
            setattr(state, name, value)
        self.state = state


def _read_back(source: Source, table: TableName, row: str, at_us: int) -> None:
    """Raises SourceError when the row is not there as it was written."""
    shape = source.shape(table).with_columns((ROW_ID, ROW_AT))
    for rows in source.read(shape, RowRange((ROW_ID,), at_least=row, through=row)):
        if at_us in rows.column(ROW_AT).to_pylist():
            return
    raise SourceError(f"{table}: the canary's row was written, and is not there when it is read")
