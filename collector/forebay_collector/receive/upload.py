"""UploadService: the connections of agents. See upload.proto for what goes up and down, `connection.py` for one."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import grpc

from forebay_collector.identity.admission import admit
from forebay_collector.ledger import Ledger
from forebay_collector.receive.approved import Approved
from forebay_collector.receive.check import DigestChecks
from forebay_collector.receive.commit import Committer
from forebay_collector.receive.connection import Connection, Reception
from forebay_collector.receive.lanes import Lanes
from forebay_collector.receive.loaded import LoadedMarks
from forebay_collector.receive.room import Room
from forebay_wire.v1 import upload_pb2, upload_pb2_grpc

_LOOK_S: Final = 0.05
_log = logging.getLogger(__name__)


class UploadServicer(upload_pb2_grpc.UploadServiceServicer):
    """`window`: payload bytes that one agent may have unacknowledged; `memory`: of all agents together."""

    def __init__(
        self,
        ledger: Ledger,
        committer: Committer,
        loaded: LoadedMarks,
        approved: Approved,
        *,
        window: int,
        memory: int,
    ) -> None:
        self._checks = DigestChecks()
        self._stopping = asyncio.Event()
        self._open: set[Connection] = set()
        self._reception = Reception(
            ledger, Lanes(ledger), self._checks, committer, loaded, approved, Room(memory), window, self._stopping
        )

    async def Upload(  # type: ignore[override] # noqa: N802 - gRPC's name; reads and writes by its context
        self, _requests: Any, context: grpc.aio.ServicerContext[upload_pb2.UploadRequest, upload_pb2.UploadResponse]
    ) -> None:
        agent = await admit(context, self._reception.ledger)
        if self._stopping.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the collector is stopping")
        _log.info("agent connected agent=%s department=%s peer=%s", agent.name, agent.department, context.peer())
        connection = Connection(self._reception, agent, context)
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)
            _log.info("agent disconnected agent=%s department=%s", agent.name, agent.department)

    @property
    def connections(self) -> int:
        return len(self._open)

    async def stop(self, grace_s: float) -> None:
        """Nothing more is read; what came in whole is placed and answered, within the grace; then connections end."""
        self._stopping.set()
        deadline = asyncio.get_running_loop().time() + grace_s
        while self._open and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_LOOK_S)
        self._checks.close()
