"""Export: what waits in the outbox and may leave, into files that the agent's key seals.

The first file also holds what else a line would carry: what the agent proposes to share, and the request for a new certificate
where it is time for one. Where batches do not wait it holds nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from forebay_agent.approval.approvals import Approvals
from forebay_agent.approval.exchange import requests as proposing
from forebay_agent.approval.proposals import kept_proposals
from forebay_agent.clock import Clock
from forebay_agent.errors import FerryUnusable
from forebay_agent.ferry import renewing
from forebay_agent.ferry.seal import signing
from forebay_agent.identity import Identity
from forebay_agent.outbox import OutboxReader, StreamRecord
from forebay_agent.uplink import requests
from forebay_agent.uplink.permission import Permission
from forebay_wire.ferry import SUFFIX, FerryWriter, Sign
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2, enroll_pb2, ferry_pb2, upload_pb2

FILE_BYTES: Final = 1 << 30
"""A file ends after the batch with which it reaches this size: FAT's limit is 4 GiB."""


@dataclass(slots=True)
class Exported:
    """One file that was written. proposals: tables that it proposes. renews: it asks for a new certificate."""

    path: Path
    proposals: int = 0
    renews: bool = False
    batches: int = 0
    rows: int = 0
    bytes: int = 0


def export(
    state: Path,
    own: Identity,
    folder: Path,
    clock: Clock,
    *,
    only: Collection[StreamName] = (),
    file_bytes: int = FILE_BYTES,
) -> tuple[list[Exported], dict[StreamName, str]]:
    """Writes all that waits and may leave, of these streams or of all, after what the agent proposes. -> the files, and why
    streams stay, in words.

    A file is whole when it has its name; what was begun and not sealed is removed. Beside a running agent, too.
    `renewing.prepare` goes before it.

    Raises: FerryUnusable when the folder cannot be written; CertificateRefused; OutboxDamaged, StateFolderUnusable.
    """
    by = renewing.sealing(state, own, datetime.fromtimestamp(clock.now_us() / 1e6, UTC))
    sign = signing(by.key)
    permission = Permission(Approvals(state))
    stay: dict[StreamName, str] = {}
    files = _Files(folder, by, clock, renewing.request(state, own), kept_proposals(state))
    try:
        files.begin()
        with closing(OutboxReader(state)) as reader:
            streams = [each for each in reader.streams() if not only or each.name in only]
            for stream in streams:
                for batch in _batches(reader, stream.id):
                    why = permission.why_not(stream.name, batch.fields.schema_fingerprint, reader)
                    if why:
                        stay[stream.name] = why
                        break
                    files.add(reader, stream, batch)
                    if files.size >= file_bytes:
                        files.seal(sign)
        files.seal(sign)
    except OSError as error:
        raise FerryUnusable(f"{folder}: cannot be written: {error.strerror}") from None
    finally:
        files.give_up()
    return files.sealed, stay


class _Files:
    """The file that is being written, if any, and those that are whole. renew, proposals: what the first of them begins with."""

    def __init__(
        self,
        folder: Path,
        own: Identity,
        clock: Clock,
        renew: enroll_pb2.RenewRequest | None,
        proposals: control_pb2.Proposals | None,
    ) -> None:
        self._renew = renew
        self._proposals = proposals
        self.sealed: list[Exported] = []
        self._folder = folder
        self._own = own
        self._clock = clock
        self._writer: FerryWriter | None = None
        self._now = Exported(folder)
        self._told: set[StreamName] = set()
        self._schemas: set[tuple[StreamName, bytes]] = set()

    @property
    def size(self) -> int:
        return self._writer.size if self._writer is not None else 0

    def begin(self) -> None:
        """The first file, if there is something to begin it with: batches need not wait."""
        if self._renew is not None or self._proposals is not None:
            self._begin()

    def add(self, reader: OutboxReader, stream: StreamRecord, batch: SealedBatch) -> None:
        writer = self._writer or self._begin()
        fields = batch.fields
        if stream.name not in self._told:
            self._told.add(stream.name)
            _up(writer, upload_pb2.UploadRequest(more=requests.hello([stream.name])))
        if (stream.name, fields.schema_fingerprint) not in self._schemas:
            self._schemas.add((stream.name, fields.schema_fingerprint))
            _up(writer, requests.schema(reader, stream.name, fields))
        _up(writer, requests.start(batch))
        for part in requests.parts(batch):
            _up(writer, part)
        self._now.batches += 1
        self._now.rows += fields.rows

    def seal(self, sign: Sign) -> None:
        if self._writer is None:
            return
        self._writer.seal(self._own.certificate, sign)
        self._now.bytes = self._writer.size
        self.sealed.append(self._now)
        self._writer = None

    def give_up(self) -> None:
        if self._writer is not None:
            self._writer.give_up()

    def _begin(self) -> FerryWriter:
        made = datetime.fromtimestamp(self._clock.now_us() / 1e6, UTC)
        name = f"{self._own.agent}-{made:%Y%m%dT%H%M%S}-{len(self.sealed) + 1:04}{SUFFIX}"
        head = ferry_pb2.FerryHead(
            agent=self._own.agent, department=self._own.department, made_at_us=self._clock.now_us()
        )
        self._now = Exported(self._folder / name)
        self._told.clear()
        self._schemas.clear()
        self._writer = FerryWriter(self._now.path, head)
        if self._renew is not None:
            self._writer.add(ferry_pb2.FerryRecord(renew=self._renew))
            self._now.renews, self._renew = True, None
        if self._proposals is not None:
            for request in proposing(self._proposals):
                self._writer.add(ferry_pb2.FerryRecord(control_up=request))
            self._now.proposals, self._proposals = len(self._proposals.proposals), None
        _up(self._writer, upload_pb2.UploadRequest(hello=requests.hello([])))
        return self._writer


def _batches(reader: OutboxReader, stream: int) -> Iterator[SealedBatch]:
    after = (0, 0)
    while (batch := reader.next_batch(stream, after)) is not None:
        after = (batch.epoch, batch.seq)
        yield batch


def _up(writer: FerryWriter, request: upload_pb2.UploadRequest) -> None:
    writer.add(ferry_pb2.FerryRecord(up=request))
