"""Collectors for tests: one in this process, to look inside; one as a process of its own, to kill."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc

from forebay_collector.founding import init
from forebay_collector.identity.authority import AGENT_LIFE, Authority, key_pem, new_key, pem
from forebay_collector.identity.handshakes import CallsSeen
from forebay_collector.identity.names import serial_text, subject
from forebay_collector.identity.server import ServerCredentials
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.agents import put_certificate
from forebay_collector.pipeline import Pipeline, Role
from forebay_collector.platform.contract import Platform
from forebay_collector.serve import OPTIONS
from forebay_collector.settings import Settings
from tests.receiving.batches import DEPARTMENT
from tests.receiving.sender import Credentials

_SERVE = "import sys,pathlib; from forebay_collector.serve import serve; from forebay_collector.pipeline import Role; \
from forebay_collector.settings import load_settings; serve(load_settings(pathlib.Path(sys.argv[1])), frozenset([Role.RECEIVE]))"


def no_platform() -> Platform:
    raise AssertionError("a collector that only receives opens no platform")


def enrolled(
    settings: Settings,
    ledger: Ledger,
    agent: str = "scjg-01",
    department: str = DEPARTMENT,
    life: timedelta = AGENT_LIFE,
) -> Credentials:
    """An agent that the ledger knows, with its certificate."""
    authority = Authority.load(settings.data.identity)
    key = new_key()
    certificate = authority._client(subject(agent, department), key.public_key(), datetime.now(UTC) + life)
    with ledger.database.write() as connection:
        put_certificate(
            connection, agent, department, serial_text(certificate), 2**62, 1, hostname="appliance", version="0"
        )
    return Credentials(pem(authority.certificate), pem(certificate), key_pem(key))


class InProcess:
    """A collector that only receives, in a thread of this process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.died: list[tuple[str, BaseException]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> InProcess:
        self._thread.start()
        assert self._ready.wait(20), "the collector did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()
        assert not self.died

    @property
    def ledger(self) -> Ledger:
        return self.pipeline.ledger

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def call(self, function: Any) -> Any:
        """Runs a function in the collector's event loop."""
        done: Any = asyncio.run_coroutine_threadsafe(_called(function), self._loop)
        return done.result(10)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.pipeline = Pipeline(
            self.settings, frozenset([Role.RECEIVE]), no_platform, lambda name, error: self.died.append((name, error))
        )
        handshakes = self.pipeline.handshakes
        server = grpc.aio.server(options=OPTIONS, interceptors=[CallsSeen(handshakes)])
        self.upload, control = self.pipeline.add_services(server)
        identity = self.settings.data.identity
        authority = Authority.load(identity)
        self.credentials = ServerCredentials(identity, authority, self.settings.addresses, handshakes.begun)
        handshakes.port = self.port = server.add_secure_port("127.0.0.1:0", self.credentials.for_grpc())
        await server.start()
        self.pipeline.start()
        delivering = asyncio.ensure_future(control.deliver())
        self._ready.set()
        await self._stop.wait()
        delivering.cancel()
        await self.upload.stop(5)
        await server.stop(0.2)
        await control.stop()
        await asyncio.to_thread(self.pipeline.stop)


async def _called(function: Any) -> Any:
    return function()


class AsProcess:
    """`serve` as a process, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.settings = init(folder, [f"127.0.0.1:{self.port}"], "auto")
        self.log = folder / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-c", _SERVE, str(self.settings.folder)], stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"does not listen: {self.log.read_text()}")

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(40)
        self.process = None
        return code


@contextmanager
def process(folder: Path) -> Iterator[AsProcess]:
    collector = AsProcess(folder)
    try:
        yield collector
    finally:
        if collector.process is not None:
            collector.end(signal.SIGKILL)
