"""UploadService: the connections of agents. See upload.proto for what goes up and down, `connection.py` for one."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Final

import grpc

from forebay_collector.archive.schemas import SchemaLog
from forebay_collector.errors import CollectorError
from forebay_collector.identity import admission
from forebay_collector.identity.admission import admit, identity_of
from forebay_collector.ledger import Ledger
from forebay_collector.receive.approved import Approved
from forebay_collector.receive.check import DigestChecks
from forebay_collector.receive.commit import Committer
from forebay_collector.receive.connection import Connection, Reception
from forebay_collector.receive.ferries import Ferries
from forebay_collector.receive.keeping import SchemaKeeper
from forebay_collector.receive.lanes import Lanes
from forebay_collector.receive.loaded import LoadedMarks
from forebay_collector.receive.room import Room
from forebay_wire.v1 import upload_pb2, upload_pb2_grpc

_LOOK_S: Final = 0.05
_STALLS_S: Final = 5.0
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
        schemas: SchemaLog,
        window: int,
        memory: int,
    ) -> None:
        self._checks = DigestChecks()
        self._stopping = False
        self._looking: asyncio.Task[None] | None = None
        self._open: set[Connection] = set()
        self._reception = Reception(
            ledger,
            Lanes(ledger),
            self._checks,
            committer,
            loaded,
            approved,
            SchemaKeeper(ledger, approved, schemas),
            Room(memory),
            window,
        )

    async def Upload(  # type: ignore[override] # noqa: N802 - gRPC's name; reads and writes by its context
        self, _requests: Any, context: grpc.aio.ServicerContext[upload_pb2.UploadRequest, upload_pb2.UploadResponse]
    ) -> None:
        # what the ledger says of the agent is not kept: it is long, and the call may last for months
        await admit(context, self._reception.ledger)
        if self._stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the collector is stopping")
        connection = Connection(self._reception, identity_of(context), context)
        agent, department = connection.identity.agent, connection.identity.department
        _log.info("agent connected agent=%s department=%s peer=%s", agent, department, context.peer())
        self._open.add(connection)
        self._look_after()
        try:
            await connection.run()
        finally:
            self._open.discard(connection)
            _log.info("agent disconnected agent=%s department=%s", agent, department)

    def ferries(self, folder: Path, identity_folder: Path) -> Ferries:
        """What reads the uploads that come on disks into this folder."""
        return Ferries(self._reception, folder, identity_folder)

    @property
    def connections(self) -> int:
        return len(self._open)

    async def stop(self, grace_s: float) -> None:
        """Nothing more is read; what came in whole is placed and answered, within the grace; then connections end."""
        self._stopping = True
        for connection in self._open:
            connection.stop_reading()
        deadline = asyncio.get_running_loop().time() + grace_s
        while self._open and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_LOOK_S)
        if self._looking is not None:
            self._looking.cancel()
        self._checks.close()

    def _look_after(self) -> None:
        """Sees to it that the open connections are looked at: by one task for all of them, while there are any."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while self._open:
            await asyncio.sleep(min(_STALLS_S, admission.RECHECK_S))
            try:
                for connection in [one for one in self._open if one.stalls(loop.time())]:
                    await connection.give_up()
                await admission.end_refused(self._open, self._reception.ledger)
            except CollectorError as error:
                _log.warning("who may stay is looked at again later: %s", error)
            except Exception:  # one that cannot be ended leaves the others to be looked at
                _log.exception("open uploads cannot be looked at")
        self._looking = None
