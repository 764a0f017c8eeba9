"""The daemon: one thread per source, one uplink, one control, and this one, which watches over them.

A thread that dies ends the process with its reason; systemd starts it again. The watchdog is fed only while every loop
keeps the promise that it made (`pulse.py`). A changed configuration is applied here, source by source.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

from forebay_agent import identity, journal
from forebay_agent.approval.approvals import Approvals
from forebay_agent.approval.proposals import Proposals
from forebay_agent.clock import SystemClock
from forebay_agent.config.kept_offer import KeptOffer
from forebay_agent.config.load import load
from forebay_agent.config.model import AgentConfig, SourceConfig
from forebay_agent.config.offer import Offer, laid_over
from forebay_agent.config.watch import ConfigurationWatcher
from forebay_agent.control import Control
from forebay_agent.control.beats import Beats
from forebay_agent.control.commands import Commands
from forebay_agent.control.handlers import handlers
from forebay_agent.entrance import Entrance
from forebay_agent.errors import AgentError, ConfigurationError, OfferRefused, StateFolderUnusable
from forebay_agent.memory import Slack, keep_small
from forebay_agent.metrics.server import MetricsServer
from forebay_agent.outbox import Outbox
from forebay_agent.pauses import Pauses, why_paused
from forebay_agent.policy import remedy_of
from forebay_agent.pulse import Pulses
from forebay_agent.renewal import Renewal
from forebay_agent.report import Report, Situation
from forebay_agent.source_worker import SourceWorker
from forebay_agent.state_folder import locked
from forebay_agent.stream_state import Board
from forebay_agent.systemd_notify import notify
from forebay_agent.uplink import Uplink
from forebay_wire.digest import DigestAlgorithm
from forebay_wire.stream import StreamName

T = TypeVar("T")

_ROUND_SECONDS: Final = 1.0
_END_SECONDS: Final = 20.0


def run(folder: Path) -> int:
    """Runs until SIGTERM or SIGINT. -> 0, or 1 when a thread died.

    Raises: ConfigurationError, StateFolderUnusable, OutboxDamaged, CertificateRefused (not enrolled) before it starts.
    """
    keep_small()
    config = load(folder)
    journal.start(config.log_level)
    with locked(config.state):
        own = identity.load(config.state)
        outbox = Outbox.open(config.state, config.outbox)
        try:
            return Supervisor(folder, config, own, outbox).run()
        finally:
            outbox.close()


class Supervisor:
    """Owns the threads. `run` is the main thread's body."""

    def __init__(self, folder: Path, files: AgentConfig, own: identity.Identity, outbox: Outbox) -> None:
        """files: as loaded. Raises StateFolderUnusable when what is kept of pauses, approvals or the centre's offer cannot be
        read."""
        self.files = files
        self.offers = KeptOffer(files.state)
        self._own = own
        self._outbox = outbox
        self._clock = SystemClock()
        self._board = Board()
        self._approvals, self._proposals = Approvals(files.state), Proposals(files.state)
        self._pulses = Pulses(self._clock.monotonic)
        self.pauses = Pauses(files.state)
        self._config = self._with_offer(files)
        journal.set_level(self._config.log_level)
        self._report = Report(own, files.state, outbox, self._board, self._clock, self._situation)
        self._refusal = ""
        self._slack = Slack()
        self._stopping = threading.Event()
        self._asked: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._dead: list[tuple[str, BaseException]] = []
        self._workers: dict[str, SourceWorker] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._folder = folder
        self._watcher = ConfigurationWatcher(folder, self._apply, self._refused, known=files.hash)
        self._entrance = Entrance(files.state)
        self._renewal = Renewal(files.state, self._config.collector, self._entrance, self._pulses, self._reconnect)
        self._uplink = self._make_uplink()
        self._control = self._make_control()
        self._metrics = MetricsServer(self._report.look)

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        for source in self._config.sources:
            self._start_source(source)
        self._start("uplink", self._uplink.run)
        self._start("control", self._control.run)
        self._start("renewal", self._renewal.run)
        self._metrics.tune(self._config.metrics.listen)
        journal.info("started", agent=self._own.agent, department=self._own.department, sources=len(self._workers))
        notify("READY=1", f"STATUS={len(self._workers)} sources")
        try:
            with self._watcher:
                while not self._stopping.is_set() and not self._dead:
                    self._round()
        finally:
            self._end()
        for name, error in self._dead:
            journal.error("thread died", thread=name, reason=_reason(error), remedy=_remedy(error))
        return 1 if self._dead else 0

    def _round(self) -> None:
        """Does what was asked of this thread, looks at the configuration, tells how things stand, feeds the watchdog when all
        loops are in time."""
        while not self._asked.empty():
            job, future = self._asked.get()
            try:
                future.set_result(job())
            except AgentError as error:
                future.set_exception(error)
        self._approvals.look()
        self._proposals.keep()
        self._report.write()
        self._slack.look(self._outbox.sealed.so_far.raw_bytes)
        self._watcher.step(_ROUND_SECONDS)
        if late := self._pulses.late():
            journal.error("no progress", loops=", ".join(late))
            notify(f"STATUS=no progress: {', '.join(late)}")
        else:
            notify("WATCHDOG=1", f"STATUS={self._report.headline()}")

    def _ask(self, job: Callable[[], T]) -> Future[T]:
        """Runs a job on this thread, between its rounds. Raises, from the future, the job's AgentError."""
        future: Future[T] = Future()
        self._asked.put((job, future))
        self._watcher.look_now()
        return future

    def _start(self, name: str, body: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                body()
            except BaseException as error:
                self._dead.append((name, error))

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def _start_source(self, source: SourceConfig) -> None:
        worker = SourceWorker(
            source,
            self._own.department,
            self._outbox,
            self._board,
            self._pulses,
            self._clock,
            algorithm=DigestAlgorithm(self._config.digest),
            paused=self._why_paused,
            approvals=self._approvals,
            proposals=self._proposals,
        )
        self._workers[source.name] = worker
        self._start(f"source {source.name}", worker.run)

    def _stop_source(self, name: str) -> None:
        worker = self._workers.pop(name)
        worker.fence()
        self._threads.pop(f"source {name}").join(_END_SECONDS)
        self._proposals.forget(worker.lanes)
        for stream in worker.lanes:
            self._board.remove(stream)

    def _make_uplink(self) -> Uplink:
        return Uplink(
            self._config.state,
            self._config.collector,
            self._outbox,
            self._board,
            self._pulses,
            self._clock,
            approvals=self._approvals,
            entrance=self._entrance,
            priority_of=self._priority_of,
        )

    def _make_control(self) -> Control:
        commands = Commands(
            self._outbox, self._board, self.workers, handlers(self, self._outbox, self._board, self._clock)
        )
        beats = Beats(self._report.frame, self._report.states)
        return Control(
            self._entrance,
            self._config.collector,
            commands,
            beats,
            self._approvals,
            self._proposals,
            self._pulses,
            self._clock,
        )

    def workers(self) -> list[SourceWorker]:
        return list(self._workers.values())

    def _priority_of(self, name: StreamName) -> int:
        for worker in list(self._workers.values()):
            lane = worker.lanes.get(name)
            if lane is not None:
                return lane.table.priority
        return 9

    def reload(self) -> Future[str]:
        """Reads the files now. -> the hash of what is in force. Raises ConfigurationError when they are refused."""

        return self._ask(self._load)

    def take_offer(self, offer: Offer) -> Future[AgentConfig]:
        """See `control.offering.Office`."""

        def taken() -> AgentConfig:
            config = laid_over(self.files, offer)
            undo = self.offers.accept(offer, self._clock.now_us())
            try:
                self._take(config)
            except BaseException:
                undo()
                raise
            return config

        return self._ask(taken)

    def refuse_offer(self, offer: Offer, reason: str) -> Future[None]:
        """See `control.offering.Office`."""
        return self._ask(lambda: self.offers.refuse(offer, reason, self._clock.now_us()))

    def _load(self) -> str:
        try:
            self._apply(load(self._folder))
        except ConfigurationError as error:
            self._refused(error)
            raise
        return self.offers.hash_of(self.files)

    def _apply(self, files: AgentConfig) -> None:
        """Takes valid files into force, and what the centre offered over them. Raises ConfigurationError for what needs a
        restart."""
        if files.state != self._config.state or files.outbox != self._config.outbox:
            raise ConfigurationError(
                "the state folder and the outbox's limits take force at a start only",
                file=str(files.folder / "agent.toml"),
                key="agent.state" if files.state != self._config.state else "outbox",
                remedy="Restart the agent: `systemctl restart forebay-agent`.",
            )
        self.files, self._refusal = files, ""
        self._take(self._with_offer(files))

    def _with_offer(self, files: AgentConfig) -> AgentConfig:
        """The files win over an offer that does not fit them any more."""
        try:
            return self.offers.over(files)
        except OfferRefused as error:
            journal.error("the centre's offer does not fit the files any more", reason=error)
            try:
                self.offers.drop(str(error), self._clock.now_us())
            except StateFolderUnusable as unusable:
                journal.warning("that cannot be kept for now", reason=unusable)
            return files

    def _take(self, config: AgentConfig) -> None:
        """Source by source; one that is not configured as before is stopped, and nothing of it is sealed from then on."""
        before, self._config = self._config, config
        journal.set_level(config.log_level)
        self._metrics.tune(config.metrics.listen)
        wanted = {source.name: source for source in config.sources}
        all_anew = config.digest != before.digest
        for name, worker in list(self._workers.items()):
            if all_anew or wanted.get(name) != worker.config:
                self._stop_source(name)
        for name, source in wanted.items():
            if name not in self._workers:
                self._start_source(source)
        self._renewal.config = config.collector
        if _live(config) == _live(before):
            self._uplink.tune(config.collector)
            self._control.tune(config.collector)
        else:
            self._restart_centre()
        if (config, config.hash) != (before, before.hash):
            hashed = self.offers.hash_of(self.files)
            journal.info("configuration applied", hash=hashed[:12], sources=len(wanted))

    def _restart_centre(self) -> None:
        for name, running in (("uplink", self._uplink), ("control", self._control)):
            running.stop()
            self._threads.pop(name).join(_END_SECONDS)
        self._uplink, self._control = self._make_uplink(), self._make_control()
        self._start("uplink", self._uplink.run)
        self._start("control", self._control.run)

    def _refused(self, error: ConfigurationError) -> None:
        self._refusal = "; ".join(str(problem) for problem in error.problems) or str(error)
        journal.error("configuration refused", reason=self._refusal)

    def again(self, name: StreamName) -> bool:
        """See `Uplink.again`."""
        return self._uplink.again(name)

    def rotate(self) -> str:
        """See `Renewal.rotate`."""
        return self._renewal.rotate()

    def _reconnect(self) -> None:
        self._uplink.reconnect()
        self._control.reconnect()

    def report_all(self) -> None:
        """See `Control.report_all`."""
        self._control.report_all()

    @property
    def config(self) -> AgentConfig:
        """As in force."""
        return self._config

    @property
    def report(self) -> Report:
        return self._report

    def _why_paused(self, name: StreamName) -> str:
        return why_paused(self.pauses, self._config.maintenance, name)

    def _situation(self) -> Situation:
        in_force, paused = self.offers.in_force, self.pauses.of_agent
        return Situation(
            configuration_hash=self.offers.hash_of(self.files),
            refusal=self._refusal,
            offered=in_force.revision if in_force else 0,
            newest_offer=self.offers.newest,
            paused=str(paused) if paused else "",
            uplink=self._uplink.state,
            renewal=self._renewal.state,
            canaries=tuple(worker.canary.state for worker in self.workers() if worker.config.canary.kind != "off"),
            heard_at_us=self._control.heard_at_us,
            collector_ahead_us=self._control.collector_ahead_us,
            late=tuple(self._pulses.late()),
        )

    def _end(self) -> None:
        notify("STOPPING=1")
        self._metrics.stop()
        for worker in self._workers.values():
            worker.stop()
        for part in (self._uplink, self._control, self._renewal):
            part.stop()
        for thread in self._threads.values():
            thread.join(_END_SECONDS)
        self._report.write(at_once=True)
        journal.info("stopped")

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        # only the queue: this thread may hold the lock that would wake it
        self._asked.put((self._load, Future()))


def _live(config: AgentConfig) -> AgentConfig:
    """What of it a connection cannot change while it lasts."""
    collector = replace(config.collector, bandwidth=0, windows=(), heartbeat=timedelta(0))
    return AgentConfig(config.folder, config.state, collector)


def _reason(error: BaseException) -> str:
    if isinstance(error, AgentError):
        return f"{error.code}: {error}"
    return str(journal.unexpected(error)) if isinstance(error, Exception) else type(error).__name__


def _remedy(error: BaseException) -> str:
    return remedy_of(error if isinstance(error, AgentError) else AgentError())
