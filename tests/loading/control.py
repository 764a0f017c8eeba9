"""A control service over real TLS, and an agent driven by hand."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import grpc

from forebay_collector.control.approving import Approving
from forebay_collector.control.service import ControlServicer
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.server import ServerCredentials
from forebay_collector.ledger import Ledger
from forebay_collector.serve import OPTIONS
from forebay_collector.settings import Settings
from forebay_wire import PROTOCOL
from forebay_wire.v1 import control_pb2, control_pb2_grpc
from tests.receiving.sender import Credentials

HEARTBEAT: Final = timedelta(seconds=1.5)


class ControlServer:
    """The control service alone, in a thread of its own."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> ControlServer:
        self._thread.start()
        assert self._ready.wait(20), "the service did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        approving = Approving(self._ledger, self._settings.approval.mode)
        control = replace(self._settings.control, heartbeat=HEARTBEAT)
        self.servicer = ControlServicer(self._ledger, approving, control)
        server = grpc.aio.server(options=OPTIONS)
        control_pb2_grpc.add_ControlServiceServicer_to_server(self.servicer, server)
        identity = self._settings.data.identity
        credentials = ServerCredentials(identity, Authority.load(identity), self._settings.addresses)
        self._port = server.add_secure_port("127.0.0.1:0", credentials.for_grpc())
        await server.start()
        delivering = asyncio.ensure_future(self.servicer.deliver())
        self._ready.set()
        await self._stop.wait()
        delivering.cancel()
        await server.stop(0.2)
        await self.servicer.stop()


class HandAgent:
    """One control call. `next` gives what the collector sent."""

    def __init__(self, address: str, credentials: Credentials) -> None:
        self._channel = credentials.channel(address)
        self._up: queue.Queue[control_pb2.ControlRequest | None] = queue.Queue()
        self._down: queue.Queue[control_pb2.ControlResponse | Exception | None] = queue.Queue()
        self._call: Any = control_pb2_grpc.ControlServiceStub(self._channel).Control(self._requests())
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def hello(
        self,
        agent: str,
        *,
        protocol: int = PROTOCOL,
        version: str = "0.1.0",
        hostname: str = "appliance",
        instance: str = "i",
    ) -> control_pb2.Welcome:
        """Says hello; -> the welcome. The approvals that come after it are in `approvals`."""
        hello = control_pb2.AgentHello(
            agent=agent, version=version, hostname=hostname, instance=instance, protocol=protocol
        )
        self.say(hello=hello)
        welcome = self.next().welcome
        self.approvals = self.next().approvals
        return welcome

    def say(self, **kind: Any) -> None:
        self._up.put(control_pb2.ControlRequest(**kind))

    def next(self, timeout: float = 60) -> control_pb2.ControlResponse:
        answer = self._down.get(timeout=timeout)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            raise EOFError("the collector ended the call")
        return answer

    def quiet(self, seconds: float) -> bool:
        """Whether nothing came down for so long."""
        try:
            self.next(seconds)
        except queue.Empty:
            return True
        return False

    def cut(self) -> None:
        self._call.cancel()
        self._up.put(None)
        self._listening.join(15)
        self._channel.close()

    def _requests(self) -> Iterator[control_pb2.ControlRequest]:
        while (request := self._up.get()) is not None:
            yield request

    def _listen(self) -> None:
        try:
            for answer in self._call:
                self._down.put(answer)
            self._down.put(None)
        except grpc.RpcError as error:
            self._down.put(error)
