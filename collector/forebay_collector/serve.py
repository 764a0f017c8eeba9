"""`serve`: the collector as a process. One port, mutual TLS 1.2 or later; ends by SIGTERM or SIGINT, or with a reason.

Stopping: no new calls, what came in whole is committed and acknowledged, the load under way ends, the log is closed. A
thread that ends by itself ends the process with its reason. The service manager's watchdog is fed only while every
thread completes its steps.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from typing import Any, Final

import grpc

from forebay_collector import __version__, fairness
from forebay_collector.control.service import ControlServicer
from forebay_collector.errors import AddressUnusable, CollectorError, ThreadDied
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.handshakes import CallsSeen, Handshakes
from forebay_collector.identity.server import ServerCredentials
from forebay_collector.journal import start_log
from forebay_collector.lock import locked
from forebay_collector.notify import ServiceManager
from forebay_collector.pipeline import Pipeline, Role
from forebay_collector.platform.contract import Platform
from forebay_collector.receive.upload import UploadServicer
from forebay_collector.settings import Settings
from forebay_collector.workers import DEAF_AFTER_S
from forebay_wire import limits

ALL_ROLES: Final = frozenset(Role)
_CLOSE_S: Final = 0.5
_LOOK_S: Final = 5.0
OPTIONS: Final = (
    ("grpc.max_receive_message_length", limits.MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", limits.MAX_MESSAGE_BYTES),
    # two collectors on one port would share its connections in silence
    ("grpc.so_reuseport", 0),
    # measured: a third more throughput with 1 MiB messages
    ("grpc.http2.max_frame_size", 1 << 20),
    ("grpc.http2.lookahead_bytes", 4 << 20),
    # a connection whose other end vanished is closed within half a minute
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # what each connection keeps, of a thousand: room for what is sent (it is little), and a record for debugging
    ("grpc.tsi.max_frame_size", 1_024),
    ("grpc.enable_channelz", 0),
    ("grpc.max_channel_trace_event_memory_per_node", 0),
)
_log = logging.getLogger("forebay.serve")


def serve(settings: Settings, roles: frozenset[Role] = ALL_ROLES) -> None:
    """Runs the collector until it is told to stop.

    Raises:
        DataFolderInUse, DataFolderUnusable, AddressUnusable, ConfigurationError: it cannot start.
        ThreadDied: a thread ended by itself; everything else was stopped in order.
        LedgerUnavailable, LedgerDamaged, LedgerVersion, ArchiveUnavailable, PlatformError: it cannot open its stores.
    """
    start_log(settings.log_level)
    fairness.share_turns()
    if roles == frozenset([Role.LOAD]):
        fairness.let_others_go_first()
    with ExitStack() as held:
        # a console writes nothing but the ledger: there may be several
        for role in sorted(roles - {Role.CONSOLE}):
            held.enter_context(locked(settings.data.lock(role)))
        asyncio.run(_Process(settings, roles).run())


class _Process:
    def __init__(self, settings: Settings, roles: frozenset[Role]) -> None:
        self._settings = settings
        self._roles = roles
        self._manager = ServiceManager()
        self._stop = asyncio.Event()
        self._reason: CollectorError | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()

        def died(name: str, error: BaseException) -> None:
            _log.error("thread %s died", name, exc_info=error)
            with suppress(RuntimeError):  # the loop is closed: we are stopping anyway
                loop.call_soon_threadsafe(self._fail, ThreadDied(f"thread {name}: {type(error).__name__}"))

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        pipeline = await asyncio.to_thread(Pipeline, self._settings, self._roles, _platform_of(self._settings), died)
        server = grpc.aio.server(options=OPTIONS, interceptors=[CallsSeen(pipeline.handshakes)])
        upload, control = pipeline.add_services(server)
        try:
            if Role.RECEIVE in self._roles:
                await self._listen(server, pipeline.handshakes)
            await asyncio.to_thread(pipeline.start)
            fairness.keep_what_is_there()
            status = f"{', '.join(sorted(self._roles))}; {self._settings.listen}"
            self._manager.ready(status)
            _log.info("collector ready version=%s roles=%s", __version__, status)
            await self._until_stopped(pipeline, upload, control)
            self._manager.stopping()
            _log.info("collector stopping")
            await upload.stop(self._settings.receive.grace.total_seconds())
        finally:
            await server.stop(_CLOSE_S)
            await control.stop()
            await asyncio.to_thread(pipeline.stop)
        if self._reason is not None:
            raise self._reason

    async def _listen(self, server: Any, handshakes: Handshakes) -> None:
        identity = self._settings.data.identity
        credentials = ServerCredentials(identity, Authority.load(identity), self._settings.addresses, handshakes.begun)
        try:
            handshakes.port = server.add_secure_port(self._settings.listen, credentials.for_grpc())
        except RuntimeError:
            raise AddressUnusable(f"{self._settings.listen} cannot be listened on") from None
        await server.start()

    async def _until_stopped(self, pipeline: Pipeline, upload: UploadServicer, control: ControlServicer) -> None:
        tasks = [self._start("delivery of commands", control.deliver())]
        if Role.RECEIVE in self._roles:
            data = self._settings.data
            tasks.append(self._start("ferries", upload.ferries(data.ferry, data.identity).run()))
        look_s = min(_LOOK_S, self._manager.watchdog_s / 3) if self._manager.watchdog_s else _LOOK_S
        try:
            while not self._stop.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), look_s)
                hanging = [worker.name for worker in pipeline.workers if worker.silent_s > DEAF_AFTER_S]
                if hanging:
                    _log.error("threads hang names=%s", ",".join(hanging))
                else:
                    self._manager.alive()
                self._manager.status(f"{upload.connections} agents upload")
        finally:
            for task in tasks:
                task.cancel()

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose death ends the process."""

        def died(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("%s died", name, exc_info=error)
                self._fail(ThreadDied(f"{name}: {type(error).__name__}"))

        task = asyncio.create_task(work)
        task.add_done_callback(died)
        return task

    def _fail(self, reason: CollectorError) -> None:
        self._reason = self._reason or reason
        self._stop.set()


def _platform_of(settings: Settings) -> Callable[[], Platform]:
    def open_platform() -> Platform:
        # imported when it is opened: a process that only receives does without it
        from forebay_collector.platform.iceberg.platform import IcebergPlatform

        return IcebergPlatform(settings.data.platform)

    return open_platform
