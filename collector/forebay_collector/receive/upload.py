"""UploadService: the connections of agents. See upload.proto for what goes up and down, `connection.py` for one."""

from __future__ import annotations

import logging
from typing import Any

import grpc

from forebay_collector.identity.admission import admit
from forebay_collector.ledger import Ledger
from forebay_collector.receive.check import DigestChecks
from forebay_collector.receive.commit import Committer
from forebay_collector.receive.connection import Connection, Reception
from forebay_collector.receive.lanes import Lanes
from forebay_collector.receive.loaded import LoadedMarks
from forebay_collector.receive.room import Room
from forebay_wire.v1 import upload_pb2, upload_pb2_grpc

_log = logging.getLogger(__name__)


class UploadServicer(upload_pb2_grpc.UploadServiceServicer):
    """`window`: payload bytes that one agent may have unacknowledged; `memory`: of all agents together."""

    def __init__(self, ledger: Ledger, committer: Committer, loaded: LoadedMarks, *, window: int, memory: int) -> None:
        self._checks = DigestChecks()
        self._reception = Reception(ledger, Lanes(ledger), self._checks, committer, loaded, Room(memory), window)

    async def Upload(  # type: ignore[override] # noqa: N802 - gRPC's name; reads and writes by its context
        self, _requests: Any, context: grpc.aio.ServicerContext[upload_pb2.UploadRequest, upload_pb2.UploadResponse]
    ) -> None:
        agent = await admit(context, self._reception.ledger)
        _log.info("agent connected agent=%s department=%s peer=%s", agent.name, agent.department, context.peer())
        try:
            await Connection(self._reception, agent, context).run()
        finally:
            _log.info("agent disconnected agent=%s department=%s", agent.name, agent.department)

    def close(self) -> None:
        self._checks.close()
