"""SourceWorker: the thread of one source. It alone uses the source's session, so nothing else reads the source meanwhile.

A round polls every table that is due, by priority. One table's trouble delays that table; only an unreachable database
delays them all. Jobs (drain, digests of the table as it is) run between polls.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar, cast

from forebay_agent import journal
from forebay_agent.approval.approvals import Approvals
from forebay_agent.approval.gate import Gate
from forebay_agent.approval.proposals import Proposals
from forebay_agent.backoff import Backoff
from forebay_agent.canary import Canary
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
from forebay_agent.jobs import Jobs
from forebay_agent.lane import BACKOFF, FIRST_LOOK_SECONDS, FULL_SECONDS, HELD_SECONDS, Lane, freed
from forebay_agent.log.pipeline import LogPipeline
from forebay_agent.log.stream import LOG
from forebay_agent.outbox import Outbox, Superseded
from forebay_agent.pipeline import Opened, StreamPipeline
from forebay_agent.policy import Reaction, policy_of
from forebay_agent.polled import Polled
from forebay_agent.pulse import Pulses
from forebay_agent.restraints import Restraints
from forebay_agent.stream_state import Board
from forebay_agent.taking_up import take_up
from forebay_agent.transform import Transform
from forebay_wire.digest import DigestAlgorithm
from forebay_wire.stream import StreamName

T = TypeVar("T")

_GRACE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 1.0


class SourceWorker:
    """`run` is the thread's body; `stop`, `fence` and `ask` are called by others. paused: why a stream is not captured now,
    in words, whatever its configuration says. approvals: which columns may be captured; None: all. proposals: where is put
    what would be shared."""

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
        paused: Callable[[StreamName], str] = lambda _: "",
        approvals: Approvals | None = None,
        proposals: Proposals | None = None,
    ) -> None:
        self.config = config
        tables = {StreamName(department, config.name, table.name): table for table in config.tables}
        self.lanes = {name: Lane(table, name) for name, table in tables.items()}
        self._outbox = outbox
        self._board = board
        self._pulses = pulses
        self._clock = clock
        self._algorithm = algorithm
        self._opener = opener
        self._sealer = ThreadPoolExecutor(1, thread_name_prefix=f"seal-{config.name}")
        self._source: Source | None = None
        self._source_backoff = Backoff(*BACKOFF)
        self._jobs = Jobs()
        for lane in self.lanes.values():
            board.update(lane.name, mode=lane.table.mode)
        gate = Gate(tables, approvals or Approvals.everything(), proposals or Proposals(), clock)
        self._restraints = Restraints(config, list(self.lanes.values()), gate, board, clock, paused)
        self.canary = Canary(config, department, outbox, board, clock, algorithm)
        self._polled = [lane for lane in self.lanes.values() if lane.table.mode != LOG]
        self.log: LogPipeline | None = None
        self._log_due = 0.0
        self._log_backoff = Backoff(*BACKOFF)
        self._log_stood_at: str | None = None  # as durable, when the log met the trouble that it is in
        self._elsewhere = False  # that trouble is that another server answers
        if logged := self._logged():
            self.log = LogPipeline(
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
            self.log.heard = self.canary.heard

    def run(self) -> None:
        """Polls until stopped. Raises what must end the process: OutboxDamaged, StateFolderUnusable."""
        try:
            while not self.stopping:
                self._jobs.wait(self.step())
        finally:
            self._pulses.end(self._pulse)
            self._close_session()
            self._sealer.shutdown()
            self._jobs.cancel()

    def stop(self) -> None:
        """Asks the thread to end after the piece that it is at."""
        self._jobs.close()

    def fence(self) -> None:
        """Stops, and returns when nothing more can be sealed by this worker, whatever its thread still does."""
        self.stop()
        self._sealer.shutdown(cancel_futures=True)

    def ask(self, job: Callable[[], T]) -> Future[T]:
        """Runs a job on the source's thread, between polls."""
        return self._jobs.ask(job)

    def step(self) -> float:
        """One round: the jobs that were asked for, then every table that is due. -> seconds until the next is due."""
        self.tick()
        if self._restraints.due:
            self.heed_restraints()
        self._jobs.run()
        if any(lane.table.mode == LOG for lane in freed(self.lanes.values(), self._outbox)):
            self._log_due = 0.0
        now = self._clock.monotonic()
        if self.log is not None and self._log_due <= now and not self.stopping:
            self._poll_log(self.log)
        for lane in sorted(self._polled, key=lambda lane: (lane.table.priority, lane.due)):
            if lane.due <= now and not self.stopping and not lane.still:
                self.poll(lane)
            if self._jobs:
                return 0.0
        self._step_canary()
        dues = [lane.due for lane in self._polled if not lane.still]
        dues += [self._log_due] if self.log is not None else []
        wait = min(dues, default=now + _LOOK_SECONDS) - self._clock.monotonic()
        return min(max(wait, 0.0), _LOOK_SECONDS)

    def heed_restraints(self) -> None:
        """Part of every round, and a job: what is paused or not approved now stands still, what is not any more goes on."""
        before = self._logged()
        try:
            self._restraints.heed(self.session)
        except (SourceUnreachable, SourceDenied) as error:
            self._unreachable(error)
        if self.log is not None:
            if self._logged() != before:
                self.log.capture_as(self._logged())
            self.log.pause(frozenset(lane.name for lane in self.lanes.values() if lane.still))

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

    def drain(self, until: float) -> dict[StreamName, Polled]:
        """A job: captures what is committed now, of every table that is in no trouble; ends at `until` on the monotonic clock.
        Of those in mode log one is told, for all."""
        logged = [lane for lane in self.lanes.values() if lane.table.mode == LOG][:1]
        told = {lane.name: Polled(self.log is None or self._drain_log(self.log, until)) for lane in logged}
        self.heed_restraints()
        polled = sorted(self._polled, key=lambda lane: lane.table.priority)
        return told | {lane.name: self.poll_through(lane, until) for lane in polled}

    def poll_through(self, lane: Lane, until: float) -> Polled:
        """A job: polls one table until nothing more can be read now; not when it stands still. Ends at `until`."""
        if lane.table.mode == LOG:
            return Polled(lane.still or self.log is None or self._drain_log(self.log, until))
        while not lane.still and not self.stopping and self._clock.monotonic() < until:
            self.tick()
            if self._restraints.changed:
                self.heed_restraints()
            elif not self.poll(lane):
                trouble, pipeline = self._board.of(lane.name).capturing, lane.pipeline
                if trouble is not None or pipeline is None:
                    return Polled(trouble is None or trouble.code != OutboxFull.code)
                return Polled(not pipeline.waits, pipeline.settlings)
        return Polled(lane.still)

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
        return self._jobs.closed

    @property
    def _pulse(self) -> str:
        return f"source {self.config.name}"

    def tick(self) -> None:
        """Says that the thread goes on; jobs say so as well."""
        patience = self.config.statement_timeout + self.config.connect_timeout
        self._pulses.tick(self._pulse, patience.total_seconds() + _GRACE_SECONDS)

    def _step_canary(self) -> None:
        if self.stopping or all(lane.paused for lane in self.lanes.values()):
            return  # a source that is paused is neither read nor written
        followed = any(lane.table.mode == LOG and not lane.still for lane in self.lanes.values())
        try:
            self.canary.step(self.session, self.log if followed else None)
        except (SourceUnreachable, SourceDenied) as error:
            self._unreachable(error)

    def _poll_log(self, log: LogPipeline) -> None:
        """One round of the log. A trouble is shown, and waited for, here."""
        if self._elsewhere:
            self._close_session()  # one that was opened for something else meanwhile is with the wrong server still
        try:
            more = log.step()
            self._elsewhere = False
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

    def _drain_log(self, log: LogPipeline, until: float) -> bool:
        """Whether nothing committed is left, or a trouble is shown that keeps it from going on."""
        while not self.stopping and self._clock.monotonic() < until:
            try:
                reached = log.drain(until, lambda: self.stopping or self._restraints.changed)
                if not self._restraints.changed:
                    self._log_went_on(log, more=True)
                    return reached
                self.heed_restraints()
            except OutboxFull as error:
                self._log_trouble(log, error)
                return False
            except (OutboxDamaged, StateFolderUnusable, MemoryError):
                raise
            except AgentError as error:
                self._log_trouble(log, error)
                return True
            except Exception as error:
                self._log_trouble(log, journal.unexpected(error))
                return True
        return False

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
        if self.stopping:
            return
        self._log_stood_at, self._elsewhere = log.durable, isinstance(error, SourceReplaced)
        held = policy_of(error).reaction is not Reaction.RETRY
        was_reset = False
        for lane in self.lanes.values():
            if lane.table.mode == LOG and not log.has_own_trouble(lane.name):
                self._show(lane, error)
                epoch = self._outbox.stream(lane.name).epoch if held else 0
                was_reset = was_reset or 0 < lane.held_in_epoch < epoch  # while the log was looked at
                lane.held_in_epoch = epoch
        if isinstance(error, SourceUnreachable | SourceDenied | SourceReplaced):
            self._close_session()  # the next look is at whoever answers then
        else:
            with suppress(AgentError):
                log.watch_retention()
        pause = self._log_backoff.next()
        if isinstance(error, OutboxFull):
            pause = min(pause, FULL_SECONDS)
        self._log_due = self._clock.monotonic() + (0.0 if was_reset else pause)

    def _open(self, lane: Lane) -> StreamPipeline:
        source = self.session()
        shape = describe(source, lane.table)
        with suppress(Superseded):  # reset: it begins at its start anyway
            take_up(self._outbox, lane.name, lane.table, Transform(shape, lane.table).schema)
        capture = open_capture(source, shape, lane.table, batch_rows=self.config.batch_rows)
        table = lane.table
        opened = Opened(capture, shape, lambda shape: Transform(shape, table))
        return StreamPipeline(
            lane.name,
            opened,
            self._outbox,
            self._sealer,
            self._board,
            self._clock,
            algorithm=self._algorithm,
            tick=self.tick,
            stopping=lambda: self.stopping or self._restraints.stop(lane),
        )

    def _trouble(self, lane: Lane, error: AgentError) -> None:
        if isinstance(error, SourceUnreachable | SourceDenied):
            self._unreachable(error)
            return
        self._show(lane, error)
        if isinstance(error, SourceReplaced):
            self._close_session()  # the next look is at whoever answers then
        if policy_of(error).reaction is Reaction.RETRY:
            pause = lane.backoff.next()
            if isinstance(error, OutboxFull):
                pause = min(pause, FULL_SECONDS)
        else:
            pause = HELD_SECONDS if lane.held_in_epoch else FIRST_LOOK_SECONDS
            lane.pipeline = None  # what is mended shows when the table is described anew
            lane.held_in_epoch = self._outbox.stream(lane.name).epoch
        lane.due = self._clock.monotonic() + pause

    def _unreachable(self, error: AgentError) -> None:
        """Delays all of the source's tables."""
        self._close_session()
        pause = self._source_backoff.next()
        self._log_due = self._clock.monotonic() + pause
        for each in self.lanes.values():
            if self.log is None or not self.log.has_own_trouble(each.name):
                self._show(each, error)
            each.due = self._clock.monotonic() + pause

    def _show(self, lane: Lane, error: AgentError) -> None:
        if not (lane.still or self.stopping):
            self._board.capturing(lane.name, error)

    def _logged(self) -> list[tuple[StreamName, TableConfig]]:
        return [(lane.name, lane.table) for lane in self.lanes.values() if lane.table.mode == LOG]

    def _close_session(self) -> None:
        for lane in self.lanes.values():
            lane.pipeline = None
        if self.log is not None:
            self.log.close()
        source, self._source = self._source, None
        if source is not None:
            source.close()
