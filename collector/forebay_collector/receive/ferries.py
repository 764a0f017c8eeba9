"""Ferries: uploads that came on a disk. Each goes through a connection of its own, as a line's does.

What stands between is `FerryCall`: it gives the connection the file's messages, no faster than they are answered, and
takes the answers. A file in which something is not next yet (another file comes first), or not approved, is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import grpc

from forebay_collector.errors import CollectorError, FerryRefused
from forebay_collector.ferry.folder import Outcome, State, tell, waiting
from forebay_collector.ferry.seal import check_sealed_by_agent
from forebay_collector.identity.admission import find_agent
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.names import Identity
from forebay_collector.receive.connection import Connection, Context
from forebay_collector.receive.reception import Reception
from forebay_wire import ferry
from forebay_wire.errors import WireError
from forebay_wire.seal import parse_header
from forebay_wire.stream import StreamName
from forebay_wire.v1 import upload_pb2

_LOOK_S: Final = 0.5
_AGAIN_S: Final = 10.0
_AHEAD: Final = 8
"""Records read from the disk at once: 1 MiB each at most."""
_TRIED_AGAIN: Final = (
    upload_pb2.REFUSAL_CODE_GAP,
    upload_pb2.REFUSAL_CODE_UNAVAILABLE,
    upload_pb2.REFUSAL_CODE_NOT_APPROVED,
)
_log = logging.getLogger(__name__)


class FerryCall:
    """One file, as a connection sees a call: `read`, `write`, `abort`, `peer`, `auth_context`."""

    def __init__(self, path: Path, certificate: bytes, window: int) -> None:
        self._path = path
        self._certificate = certificate
        self._window = window
        self._records = ferry.records(path)
        self._ahead: deque[upload_pb2.UploadRequest] = deque()
        self._unanswered: dict[tuple[StreamName, int, int], int] = {}
        self._answered = asyncio.Event()
        self.batches = self.durable = 0
        self.refused: dict[StreamName, upload_pb2.Refused] = {}

    async def read(self) -> Any:
        if not self._ahead:
            self._ahead.extend(await asyncio.to_thread(_some, self._records))
        if not self._ahead:
            return grpc.aio.EOF
        if self._ahead[0].HasField("batch_start"):
            await self._take_room(self._ahead[0].batch_start.header)
        return self._ahead.popleft()

    async def write(self, answer: upload_pb2.UploadResponse) -> None:
        match answer.WhichOneof("kind"):
            case "durable":
                told = answer.durable
                stream, at = StreamName.from_proto(told.stream), (told.epoch, told.seq)
                gone = [each for each in self._unanswered if each[0] == stream and each[1:] <= at]
                self.durable += len(gone)
            case "refused":
                refusal = answer.refused
                stream = StreamName.from_proto(refusal.stream)
                gone = [(stream, refusal.epoch, refusal.seq)]
                self.refused.setdefault(stream, refusal)
            case _:
                return
        for each in gone:
            self._unanswered.pop(each, None)
        self._answered.set()

    async def abort(self, _status: grpc.StatusCode, reason: str) -> NoReturn:
        raise FerryRefused(f"{self._path.name}: {reason}")

    def peer(self) -> str:
        return f"ferry:{self._path.name}"

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [self._certificate]}

    async def _take_room(self, header: bytes) -> None:
        """Waits until the window has room for the batch."""
        try:
            fields = parse_header(header)
            stream = StreamName.from_proto(fields.stream)
        except WireError:
            return  # refused by whoever reads it next
        size = fields.payload_bytes
        while self._unanswered and sum(self._unanswered.values()) + size > self._window:
            self._answered.clear()
            await self._answered.wait()
        self.batches += 1
        self._unanswered[stream, fields.epoch, fields.seq] = size


class Ferries:
    """`run` is a task of the event loop that receives. stopping: whether it is to end."""

    def __init__(self, reception: Reception, folder: Path, identity_folder: Path) -> None:
        self._reception = reception
        self._folder = folder
        self._identity_folder = identity_folder
        self._again_at: dict[Path, float] = {}

    async def run(self) -> None:
        """Until cancelled. A file under way is then begun anew by the next process: what was taken of it is held."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                for path in await asyncio.to_thread(waiting, self._folder):
                    if self._again_at.get(path, 0.0) <= time.monotonic():
                        await self._take(path)
            except (OSError, CollectorError) as error:
                _log.warning("ferries are looked at again later: %s", error)

    async def _take(self, path: Path) -> None:
        self._again_at[path] = time.monotonic() + _AGAIN_S
        try:
            identity, certificate = await asyncio.to_thread(self._check, path)
            outcome = await self._carry(path, identity, certificate)
        except CollectorError as error:
            outcome = Outcome(State.REFUSED, why={"": f"{error.code}: {error}"})
        except WireError as error:
            outcome = Outcome(State.REFUSED, why={"": f"{error.code}: {error}"})
        _log.info(
            "ferry read file=%s state=%s batches=%d durable=%d",
            path.name,
            outcome.state,
            outcome.batches,
            outcome.durable,
        )
        await asyncio.to_thread(tell, path, outcome)
        if outcome.state is not State.WAITS:
            # what stood behind it may be next now
            self._again_at.clear()

    def _check(self, path: Path) -> tuple[Identity, bytes]:
        identity, certificate = check_sealed_by_agent(path, Authority.load(self._identity_folder).certificate)
        find_agent(self._reception.ledger, identity)
        return identity, certificate

    async def _carry(self, path: Path, identity: Identity, certificate: bytes) -> Outcome:
        call = FerryCall(path, certificate, self._reception.window)
        # what a connection asks of a call is what this one has
        await Connection(self._reception, identity, cast(Context, call)).run()
        why = {
            str(stream): f"{upload_pb2.RefusalCode.Name(each.code).removeprefix('REFUSAL_CODE_')}: {each.reason}"
            for stream, each in call.refused.items()
        }
        again = any(each.code in _TRIED_AGAIN for each in call.refused.values())
        state = State.WAITS if again else State.REFUSED if why else State.TAKEN
        return Outcome(state, call.batches, call.durable, why)


def _some(records: Iterator[Any]) -> list[upload_pb2.UploadRequest]:
    return list(islice((record.up for record in records if record.HasField("up")), _AHEAD))
