"""The daemon: one thread per source, one uplink, one control, and this one, which watches over them.

A thread that dies ends the process with its reason; systemd starts it again. The watchdog is fed only while every loop
keeps the promise that it made (`pulse.py`). A changed configuration is applied here, source by source.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from forebay_agent import durable, identity, journal
from forebay_agent.clock import SystemClock
from forebay_agent.config.load import load
from forebay_agent.config.model import AgentConfig, SourceConfig
from forebay_agent.config.watch import ConfigurationWatcher
from forebay_agent.control import Control
from forebay_agent.control.commands import Commands
from forebay_agent.errors import AgentError, ConfigurationError, StateFolderUnusable
from forebay_agent.health import Health
from forebay_agent.memory import keep_small
from forebay_agent.outbox import Outbox
from forebay_agent.policy import remedy_of
from forebay_agent.pulse import Pulses
from forebay_agent.source_worker import SourceWorker
from forebay_agent.stream_state import Board
from forebay_agent.systemd_notify import notify
from forebay_agent.uplink import Uplink
from forebay_wire.digest import DigestAlgorithm
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

STATUS_FILE: Final = "status.json"
LOCK_FILE: Final = "agent.lock"
_ROUND_SECONDS: Final = 1.0
_END_SECONDS: Final = 20.0


def run(folder: Path) -> int:
    """Runs until SIGTERM or SIGINT. -> 0, or 1 when a thread died.

    Raises: ConfigurationError, StateFolderUnusable, OutboxDamaged, CertificateRefused (not enrolled) before it starts.
    """
    keep_small()
    config = load(folder)
    journal.start(config.log_level)
    with _state_folder(config.state):
        own = identity.load(config.state)
        outbox = Outbox.open(config.state, config.outbox)
        try:
            return Supervisor(folder, config, own, outbox).run()
        finally:
            outbox.close()


class Supervisor:
    """Owns the threads. `run` is the main thread's body."""

    def __init__(self, folder: Path, config: AgentConfig, own: identity.Identity, outbox: Outbox) -> None:
        self._config = config
        self._own = own
        self._outbox = outbox
        self._clock = SystemClock()
        self._board = Board()
        self._pulses = Pulses(self._clock.monotonic)
        self._probe = Health(config.state)
        self._started_us = self._clock.now_us()
        self._refusal = ""
        self._stopping = threading.Event()
        self._reload = threading.Event()
        self._dead: list[tuple[str, BaseException]] = []
        self._workers: dict[str, SourceWorker] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._folder = folder
        self._watcher = ConfigurationWatcher(folder, self._apply, self._refused, known=config.hash)
        self._uplink = self._make_uplink()
        self._control = self._make_control()

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        for source in self._config.sources:
            self._start_source(source)
        self._start("uplink", self._uplink.run)
        self._start("control", self._control.run)
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
        """Looks at the configuration, tells how things stand, feeds the watchdog when all loops are in time."""
        if self._reload.is_set():
            self._reload.clear()
            try:
                self._apply(load(self._folder))
            except ConfigurationError as error:
                self._refused(error)
        self._write_status()
        self._watcher.step(_ROUND_SECONDS)
        late = self._pulses.late()
        if late:
            journal.error("no progress", loops=", ".join(late))
            notify(f"STATUS=no progress: {', '.join(late)}")
        else:
            notify("WATCHDOG=1", f"STATUS={self._headline()}")

    def _headline(self) -> str:
        states = [state.state for state in self._board.all()]
        told = ", ".join(f"{states.count(name)} {name}" for name in sorted(set(states)))
        outbox = self._outbox.state()
        return f"{told or 'no streams'}; outbox {outbox.batches} batches; collector {'connected' if self._uplink.state.connected else 'not connected'}"

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
        )
        self._workers[source.name] = worker
        self._start(f"source {source.name}", worker.run)

    def _stop_source(self, name: str) -> None:
        worker = self._workers.pop(name)
        worker.stop()
        self._threads.pop(f"source {name}").join(_END_SECONDS)
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
            priority_of=self._priority_of,
        )

    def _make_control(self) -> Control:
        commands = Commands(self._outbox, self._board, self._all_workers)
        return Control(self._config.state, self._config.collector, commands, self._beat, self._pulses, self._clock)

    def _all_workers(self) -> list[SourceWorker]:
        return list(self._workers.values())

    def _priority_of(self, name: StreamName) -> int:
        for worker in list(self._workers.values()):
            lane = worker.lanes.get(name)
            if lane is not None:
                return lane.table.priority
        return 9

    def _apply(self, config: AgentConfig) -> None:
        """Takes a valid configuration into force. Raises ConfigurationError for what needs a restart."""
        if config.state != self._config.state or config.outbox != self._config.outbox:
            raise ConfigurationError(
                "the state folder and the outbox's limits take force at a start only",
                file=str(config.folder / "agent.toml"),
                key="agent.state" if config.state != self._config.state else "outbox",
                remedy="Restart the agent: `systemctl restart forebay-agent`.",
            )
        before, self._config = self._config, config
        self._refusal = ""
        wanted = {source.name: source for source in config.sources}
        all_anew = config.digest != before.digest
        for name, worker in list(self._workers.items()):
            if all_anew or wanted.get(name) != worker.config:
                self._stop_source(name)
        for name, source in wanted.items():
            if name not in self._workers:
                self._start_source(source)
        if config.collector != before.collector:
            self._restart_centre()
        if config.hash != before.hash:
            journal.info("configuration applied", hash=config.hash[:12], sources=len(wanted))

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

    def _beat(self, number: int) -> control_pb2.Heartbeat:
        return control_pb2.Heartbeat(
            number=number,
            sent_at_us=self._clock.now_us(),
            health=self._probe.measure(),
            outbox=self._outbox_state(),
            streams=[state.to_proto() for state in self._board.all()],
            configuration_hash=self._config.hash,
            configuration_refusal=self._refusal,
        )

    def _outbox_state(self) -> control_pb2.OutboxState:
        state = self._outbox.state()
        return control_pb2.OutboxState(
            batches=state.batches,
            bytes=state.bytes,
            cap_bytes=state.cap_bytes,
            disk_free_bytes=state.disk_free_bytes,
            full=state.full,
        )

    def _write_status(self) -> None:
        uplink = self._uplink.state
        trouble = uplink.trouble
        told = {
            "pid": os.getpid(),
            "written_at_us": self._clock.now_us(),
            "started_at_us": self._started_us,
            "agent": self._own.agent,
            "department": self._own.department,
            "configuration_hash": self._config.hash,
            "configuration_refusal": self._refusal,
            "uplink": {
                "connected": uplink.connected,
                "address": uplink.address,
                "since_us": uplink.since_us,
                "code": trouble.code if trouble else "",
                "reason": trouble.reason if trouble else ("" if uplink.connected else "connecting"),
                "remedy": trouble.remedy if trouble else "",
            },
            "outbox": _plain(self._outbox_state()),
            "streams": [
                {
                    **_plain(state.to_proto()),
                    "stream": str(state.name),
                    "log_hours_left": state.log_hours_left,
                    "log_kept": state.log_kept,
                }
                for state in self._board.all()
            ],
        }
        try:
            content = json.dumps(told, ensure_ascii=False).encode()
            durable.write(self._config.state / STATUS_FILE, content, mode=0o644, synced=False)
        except OSError as error:
            journal.warning("status cannot be written", reason=error.strerror or type(error).__name__)

    def _end(self) -> None:
        notify("STOPPING=1")
        for worker in self._workers.values():
            worker.stop()
        self._uplink.stop()
        self._control.stop()
        for thread in self._threads.values():
            thread.join(_END_SECONDS)
        self._write_status()
        journal.info("stopped")

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        self._reload.set()


def _plain(message: Any) -> dict[str, Any]:
    """A message's fields with their defaults; numbers as numbers."""
    told = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return {name: int(value) if isinstance(value, str) and value.isdigit() else value for name, value in told.items()}


def _reason(error: BaseException) -> str:
    if isinstance(error, AgentError):
        return f"{error.code}: {error}"
    return str(journal.unexpected(error)) if isinstance(error, Exception) else type(error).__name__


def _remedy(error: BaseException) -> str:
    return remedy_of(error if isinstance(error, AgentError) else AgentError())


@contextmanager
def _state_folder(state: Path) -> Iterator[None]:
    """Makes the state folder and locks it for this process."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(state / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateFolderUnusable(f"{state} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StateFolderUnusable(
            f"another agent runs on {state}", remedy="Stop it, or give this agent a state folder of its own."
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)
