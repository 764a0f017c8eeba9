"""A collector that answers exactly what a test wants: upload and control over real mutual TLS, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc

from forebay_agent import identity
from forebay_collector.identity.authority import Authority, key_pem, new_key, pem
from forebay_collector.identity.names import subject
from forebay_wire.digest import GENESIS
from forebay_wire.schema import TableSchema
from forebay_wire.seal import SealedBatch, check_digests, open_batch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2, control_pb2_grpc, upload_pb2, upload_pb2_grpc
from tests.daemon.centre import Centre
from tests.receiving.batches import DEPARTMENT

Response = upload_pb2.UploadResponse
Refusal = tuple[upload_pb2.RefusalCode.ValueType, str]


@dataclass
class Script(upload_pb2_grpc.UploadServiceServicer):
    """Takes every batch that is the next of its stream, unless `refuse` says otherwise.

    refuse: what to answer to a batch, None to take it. answers: whether acknowledgements are sent at all. loads: whether
    what is taken is called loaded, too.
    taken: what is durable, by stream. came: every batch that arrived whole, in order.
    """

    refuse: Callable[[SealedBatch], Refusal | None] = lambda _: None
    answers: bool = True
    loads: bool = False
    window: int = 64 << 20
    marks: dict[StreamName, upload_pb2.Mark] = field(default_factory=dict)
    taken: dict[StreamName, list[SealedBatch]] = field(default_factory=dict)
    came: list[tuple[StreamName, int, int]] = field(default_factory=list)
    schemas: list[bytes] = field(default_factory=list)
    schema_bytes: dict[bytes, bytes] = field(default_factory=dict)
    connections: int = 0
    calls: list[Any] = field(default_factory=list)

    def Upload(self, request_iterator: Iterator[upload_pb2.UploadRequest], context: Any) -> Iterator[Response]:
        self.connections += 1
        self.calls.append(context)
        holding: set[StreamName] = set()
        header, payload = b"", b""
        for request in request_iterator:
            kind = request.WhichOneof("kind")
            if kind in ("hello", "more"):
                names = [StreamName.from_proto(name) for name in getattr(request, kind).streams]
                holding -= set(names)
                marks = [self.mark(name) for name in names]
                yield Response(marks=upload_pb2.Marks(marks=marks, window_bytes=self.window))
            elif kind == "schema":
                self.schemas.append(request.schema.fingerprint)
                self.schema_bytes[request.schema.fingerprint] = request.schema.arrow_schema
            elif kind == "batch_start":
                header, payload = request.batch_start.header, b""
            elif kind == "batch_part":
                payload += request.batch_part.data
                if len(payload) == batch_pb2.BatchHeader.FromString(header).payload_bytes:
                    yield from self._take(SealedBatch(header, payload), holding)

    def mark(self, name: StreamName) -> upload_pb2.Mark:
        if name in self.marks:
            return self.marks[name]
        last = self.taken.get(name, [])[-1:]
        mark = upload_pb2.Mark(stream=name.to_proto(), durable_chain=GENESIS)
        if last:
            mark.epoch, mark.durable_seq, mark.durable_chain = last[0].epoch, last[0].seq, last[0].chain
        return mark

    def _take(self, batch: SealedBatch, holding: set[StreamName]) -> Iterator[Response]:
        check_digests(batch)
        name = batch.stream
        self.came.append((name, batch.epoch, batch.seq))
        if name in holding:
            return
        at = {"stream": name.to_proto(), "epoch": batch.epoch, "seq": batch.seq}
        refusal = self.refuse(batch)
        mark = self.mark(name)
        if refusal is None and batch.fields.previous_chain != mark.durable_chain:
            refusal = upload_pb2.REFUSAL_CODE_GAP, "not the next"
        if refusal is not None:
            holding.add(name)
            refused = upload_pb2.Refused(**at, code=refusal[0], reason=refusal[1], mark=mark)  # type: ignore[arg-type]
            yield Response(refused=refused)
            return
        self.taken.setdefault(name, []).append(batch)
        if self.answers:
            yield Response(durable=upload_pb2.Durable(**at, chain=batch.chain))  # type: ignore[arg-type]
        if self.loads:
            yield Response(loaded=upload_pb2.Loaded(**at))  # type: ignore[arg-type]

    def rows(self, name: StreamName, epoch: int = 0) -> list[dict[str, Any]]:
        """Every row taken of a stream (of one epoch), opened with the schemas that came."""
        opened: list[dict[str, Any]] = []
        for batch in list(self.taken.get(name, [])):
            if epoch in (0, batch.epoch):
                fingerprint = batch.fields.schema_fingerprint
                schema = TableSchema.parse(self.schema_bytes[fingerprint], fingerprint)
                opened += open_batch(batch, schema).to_pylist()
        return opened

    def seqs(self, name: StreamName) -> list[tuple[int, int]]:
        return [(batch.epoch, batch.seq) for batch in self.taken.get(name, [])]


class ScriptedCollector:
    """Serves a script and a centre; `enrol` gives an agent an identity that it accepts."""

    def __init__(self, folder: Path, script: Script, centre: Centre | None = None) -> None:
        folder.mkdir()
        self.script = script
        self.centre = centre or Centre()
        self._authority = Authority.create(folder)
        self.port = 0
        self.start()

    def start(self) -> None:
        """Serves, on the port that it had before."""
        certificate, key = self._authority.server_certificate(["127.0.0.1:0"])
        options = (("grpc.so_reuseport", 0), ("grpc.http2.min_ping_interval_without_data_ms", 5_000))
        self._server = grpc.server(ThreadPoolExecutor(16), options=options)
        upload_pb2_grpc.add_UploadServiceServicer_to_server(self.script, self._server)
        control_pb2_grpc.add_ControlServiceServicer_to_server(self.centre, self._server)
        credentials = grpc.ssl_server_credentials(
            [(key_pem(key), pem(certificate))], pem(self._authority.certificate), require_client_auth=True
        )
        self.port = self._server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        self._server.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def enrol(self, state: Path, *, life: timedelta = timedelta(hours=1)) -> None:
        key = new_key()
        certificate = self._authority._client(
            subject("scjg-01", DEPARTMENT), key.public_key(), datetime.now(UTC) + life
        )
        identity.prepare(state, key_pem(key))
        identity.finish(
            state,
            agent="scjg-01",
            department=DEPARTMENT,
            addresses=(self.address,),
            certificate=pem(certificate),
            authority=pem(self._authority.certificate),
        )

    def cut(self) -> None:
        """Ends every call there is."""
        calls, self.script.calls = self.script.calls, []
        for call in calls:
            call.cancel()
        self.centre.cut()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def __enter__(self) -> ScriptedCollector:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
