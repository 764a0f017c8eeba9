"""SourceWorker: the thread of one source. It alone uses the source's session, so nothing else reads the source meanwhile.

A round polls every table that is due, by priority. One table's trouble delays that table; only an unreachable database
delays them all. Jobs (drain, digests of the table as it is) run between polls.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from forebay_agent import journal
from forebay_agent.backoff import Backoff
from forebay_agent.capture.log import LogSource
from forebay_agent.capture.plan import describe, open_capture
from forebay_agent.capture.source import Source
from forebay_agent.capture.sources import open_source
from forebay_agent.clock import Clock
from forebay_agent.config.model import SourceConfig, TableConfig
from forebay_agent.errors import (
    AgentError,
    OutboxDamaged,
    OutboxFull,
    SourceDenied,
    SourceReplaced,
    SourceUnreachable,
    StateFolderUnusable,
)
from forebay_agent.log.pipeline import LogPipeline
from forebay_agent.log.stream import LOG
from forebay_agent.outbox import Outbox
from forebay_agent.pipeline import Opened, StreamPipeline
from forebay_agent.policy import Reaction, policy_of
from forebay_agent.pulse import Pulses
from forebay_agent.stream_state import Board
from forebay_agent.transform import Transform
from forebay_wire.digest import DigestAlgorithm
from forebay_wire.stream import StreamName

T = TypeVar("T")

HELD_SECONDS: Final = 30.0
"""between looks at a stream that waits for a person"""

FULL_SECONDS: Final = 5.0
"""at most, between tries to find room in the outbox"""

_GRACE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 0.05
_BACKOFF: Final = (0.5, 30.0)


@dataclass(slots=True)
class Lane:
    """One table on its source's thread. due: on the monotonic clock."""

    table: TableConfig
    name: StreamName
    due: float = 0.0
    pipeline: StreamPipeline | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(*_BACKOFF))
    held_in_epoch: int = 0  # 0: not held


class SourceWorker:
    """`run` is the thread's body; `stop` and `ask` are called by others."""

    def __init__(
        self,
        config: SourceConfig,
        department: str,
        outbox: Outbox,
        board: Board,
        pulses: Pulses,
        clock: Clock,
        *,
        algorithm: DigestAlgorithm = DigestAlgorithm.SM3,
        opener: Callable[[SourceConfig], Source] = open_source,
    ) -> None:
        self.config = config
        self.lanes = {
            name: Lane(table, name)
            for table in config.tables
            for name in (StreamName(department, config.name, table.name),)
        }
        self._outbox = outbox
        self._board = board
        self._pulses = pulses
        self._clock = clock
        self._algorithm = algorithm
        self._opener = opener
        self._sealer = ThreadPoolExecutor(1, thread_name_prefix=f"seal-{config.name}")
        self._source: Source | None = None
        self._source_backoff = Backoff(*_BACKOFF)
        self._condition = threading.Condition()
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopping = False
        for lane in self.lanes.values():
            board.update(lane.name, mode=lane.table.mode)
        self._polled = [lane for lane in self.lanes.values() if lane.table.mode != LOG]
        logged = [(lane.name, lane.table) for lane in self.lanes.values() if lane.table.mode == LOG]
        self._log: LogPipeline | None = None
        self._log_due = 0.0
        self._log_backoff = Backoff(*_BACKOFF)
        self._log_stood_at: str | None = None  # as durable, when the log met the trouble that it is in
        if logged:
            self._log = LogPipeline(
                config,
                department,
                logged,
                lambda: cast("LogSource", self.session()),
                outbox,
                self._sealer,
                board,
                clock,
                algorithm,
                tick=self.tick,
            )

    def run(self) -> None:
        """Polls until stopped. Raises what must end the process: OutboxDamaged, StateFolderUnusable."""
        try:
            while not self._stopping:
                pause = self.step()
                with self._condition:
                    if not self._jobs and not self._stopping:
                        self._condition.wait(pause)
        finally:
            self._pulses.end(self._pulse)
            self._close_session()
            self._sealer.shutdown()
            for _, future in self._jobs:
                future.cancel()

    def stop(self) -> None:
        """Asks the thread to end after the piece that it is at."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()

    def ask(self, job: Callable[[], T]) -> Future[T]:
        """Runs a job on the source's thread, between polls."""
        future: Future[T] = Future()
        with self._condition:
            if self._stopping:
                future.cancel()
            else:
                self._jobs.append((job, future))
                self._condition.notify_all()
        return future

    def step(self) -> float:
        """One round: the jobs that were asked for, then every table that is due. -> seconds until the next is due."""
        self.tick()
        while self._jobs and not self._stopping:
            self._run_job(*self._jobs.popleft())
        self._free_lanes_that_were_reset()
        now = self._clock.monotonic()
        if self._log is not None and self._log_due <= now and not self._stopping:
            self._poll_log(self._log)
        for lane in sorted(self._polled, key=lambda lane: (lane.table.priority, lane.due)):
            if lane.due <= now and not self._stopping:
                self.poll(lane)
            if self._jobs:
                return 0.0
        dues = [lane.due for lane in self._polled] + ([self._log_due] if self._log is not None else [])
        wait = min(dues, default=now + _LOOK_SECONDS) - self._clock.monotonic()
        return min(max(wait, 0.0), _LOOK_SECONDS)

    def poll(self, lane: Lane) -> bool:
        """One step of one table; whether there is more to read at once. A trouble is shown, and waited for, here.

        Raises: OutboxDamaged, StateFolderUnusable.
        """
        try:
            more = self.opened(lane).step()
        except (OutboxDamaged, StateFolderUnusable):
            raise
        except AgentError as error:
            self._trouble(lane, error)
            return False
        except MemoryError:
            raise
        except Exception as error:
            self._trouble(lane, journal.unexpected(error))
            return False
        lane.backoff.succeeded()
        self._source_backoff.succeeded()
        lane.held_in_epoch = 0
        lane.due = self._clock.monotonic() + (0.0 if more else self.config.poll_interval.total_seconds())
        return more

    def drain(self, until: float) -> None:
        """A job: captures everything that is committed now, of every table that is in no trouble; ends at `until` on the
        monotonic clock."""
        if self._log is not None:
            self._drain_log(self._log, until)
        for lane in sorted(self._polled, key=lambda lane: lane.table.priority):
            self.poll_through(lane, until)

    def poll_through(self, lane: Lane, until: float) -> None:
        """Polls one table until nothing more is to be read and the capture waits for no transaction."""
        if lane.table.mode == LOG:
            if self._log is not None:
                self._drain_log(self._log, until)
            return
        while not self._stopping and self._clock.monotonic() < until:
            self.tick()
            if self.poll(lane):
                continue
            trouble = self._board.of(lane.name).capturing
            if trouble is None and (lane.pipeline is None or not lane.pipeline.waits):
                return
            if trouble is not None and trouble.code != OutboxFull.code:
                return
            time.sleep(_AGAIN_SECONDS)

    def opened(self, lane: Lane) -> StreamPipeline:
        """The table's pipeline, opened when it is not. On the source's thread only. Raises what opening raises."""
        lane.pipeline = lane.pipeline or self._open(lane)
        return lane.pipeline

    def session(self) -> Source:
        """The source's session, opened when it is not. On the source's thread only. Raises what opening raises."""
        if self._source is None:
            self._source = self._opener(self.config)
            journal.info("source opened", source=self.config.name, kind=self.config.kind)
        return self._source

    @property
    def stopping(self) -> bool:
        return self._stopping

    @property
    def _pulse(self) -> str:
        return f"source {self.config.name}"

    def tick(self) -> None:
        """Says that the thread goes on; jobs say so as well."""
        patience = self.config.statement_timeout + self.config.connect_timeout
        self._pulses.tick(self._pulse, patience.total_seconds() + _GRACE_SECONDS)

    def _poll_log(self, log: LogPipeline) -> None:
        """One round of the log. A trouble is shown, and waited for, here."""
        try:
            more = log.step()
            self._log_went_on(log, more=more)
        except (OutboxDamaged, StateFolderUnusable, MemoryError):
            raise
        except AgentError as error:
            self._log_trouble(log, error)
            return
        except Exception as error:
            self._log_trouble(log, journal.unexpected(error))
            return
        # an open log waits for news by itself
        self._log_due = self._clock.monotonic() + (0.0 if more or log.listening else _LOOK_SECONDS)

    def _drain_log(self, log: LogPipeline, until: float) -> None:
        while not self._stopping and self._clock.monotonic() < until:
            try:
                log.drain(until, lambda: self._stopping)
                self._log_went_on(log, more=True)
                return
            except OutboxFull as error:
                self._log_trouble(log, error)
                time.sleep(_AGAIN_SECONDS)
            except (OutboxDamaged, StateFolderUnusable, MemoryError):
                raise
            except AgentError as error:
                self._log_trouble(log, error)
                return
            except Exception as error:
                self._log_trouble(log, journal.unexpected(error))
                return

    def _log_went_on(self, log: LogPipeline, *, more: bool) -> None:
        """The trouble is over once the log came further, or to its end: being read anew up to where it breaks off is neither.
        Raises as `LogPipeline.step`."""
        if self._log_stood_at is None:
            return
        if log.durable == self._log_stood_at and (more or not log.at_end()):
            return
        self._log_stood_at = None
        self._log_backoff.succeeded()
        for lane in self.lanes.values():
            if lane.table.mode == LOG:
                lane.held_in_epoch = 0
                if not log.has_own_trouble(lane.name):
                    self._board.capturing(lane.name, None)

    def _log_trouble(self, log: LogPipeline, error: AgentError) -> None:
        """What keeps the whole log from going on; one table's own trouble is the pipeline's. What may heal by itself (an event
        that was damaged on its way, a server that took another's place) is looked at again soon, then ever more slowly.
        Tables in other modes go on: that the database cannot be reached they find out themselves."""
        self._log_stood_at = log.durable
        held = policy_of(error).reaction is not Reaction.RETRY
        was_reset = False
        for lane in self.lanes.values():
            if lane.table.mode == LOG and not log.has_own_trouble(lane.name):
                self._board.capturing(lane.name, error)
                epoch = self._outbox.stream(lane.name).epoch if held else 0
                was_reset = was_reset or 0 < lane.held_in_epoch < epoch  # while the log was looked at
                lane.held_in_epoch = epoch
        if isinstance(error, SourceUnreachable | SourceDenied | SourceReplaced):
            self._close_session()  # the next look is at whoever answers then
        else:
            with contextlib.suppress(AgentError):
                log.watch_retention()
        pause = self._log_backoff.next()
        if isinstance(error, OutboxFull):
            pause = min(pause, FULL_SECONDS)
        self._log_due = self._clock.monotonic() + (0.0 if was_reset else pause)

    def _open(self, lane: Lane) -> StreamPipeline:
        source = self.session()
        shape = describe(source, lane.table)
        capture = open_capture(source, shape, lane.table, batch_rows=self.config.batch_rows)
        opened = Opened(capture, shape, lambda shape: Transform(shape, lane.table))
        return StreamPipeline(
            lane.name,
            opened,
            self._outbox,
            self._sealer,
            self._board,
            self._clock,
            algorithm=self._algorithm,
            tick=self.tick,
            stopping=lambda: self._stopping,
        )

    def _trouble(self, lane: Lane, error: AgentError) -> None:
        if isinstance(error, SourceUnreachable | SourceDenied):
            self._unreachable(error)
            return
        self._board.capturing(lane.name, error)
        if isinstance(error, SourceReplaced):
            self._close_session()  # the next look is at whoever answers then
        if policy_of(error).reaction is Reaction.RETRY:
            pause = lane.backoff.next()
            if isinstance(error, OutboxFull):
                pause = min(pause, FULL_SECONDS)
        else:
            pause = HELD_SECONDS
            lane.pipeline = None  # what is mended shows when the table is described anew
            lane.held_in_epoch = self._outbox.stream(lane.name).epoch
        lane.due = self._clock.monotonic() + pause

    def _unreachable(self, error: AgentError) -> None:
        """Delays all of the source's tables."""
        self._close_session()
        pause = self._source_backoff.next()
        self._log_due = self._clock.monotonic() + pause
        for each in self.lanes.values():
            if self._log is None or not self._log.has_own_trouble(each.name):
                self._board.capturing(each.name, error)
            each.due = self._clock.monotonic() + pause

    def _free_lanes_that_were_reset(self) -> None:
        for lane in self.lanes.values():
            if lane.held_in_epoch and self._outbox.stream(lane.name).epoch != lane.held_in_epoch:
                lane.held_in_epoch = 0
                lane.due = 0.0
                if lane.table.mode == LOG:
                    self._log_due = 0.0

    def _run_job(self, job: Callable[[], Any], future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(job())
        except (OutboxDamaged, StateFolderUnusable) as error:
            future.set_exception(error)
            raise
        except Exception as error:
            future.set_exception(error)

    def _close_session(self) -> None:
        for lane in self.lanes.values():
            lane.pipeline = None
        if self._log is not None:
            self._log.close()
        source, self._source = self._source, None
        if source is not None:
            source.close()
