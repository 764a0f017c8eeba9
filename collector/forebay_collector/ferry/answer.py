"""Answer: the ledger's marks of one agent's streams, and what else there is to say to it, in a file that the collector's key
seals."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from forebay_collector.errors import DataFolderUnusable, FerryRefused
from forebay_collector.identity.names import Identity
from forebay_collector.identity.server import load_server_certificate
from forebay_collector.ledger import Ledger
from forebay_collector.receive.answers import mark_of
from forebay_wire.ferry import ANSWER, SUFFIX, FerryWriter
from forebay_wire.v1 import ferry_pb2, upload_pb2


def write_answer(
    ledger: Ledger,
    identity_folder: Path,
    agent: Identity,
    folder: Path,
    more: Iterable[ferry_pb2.FerryRecord] = (),
    *,
    marks: bool = True,
) -> Path:
    """What is durable of each of the agent's streams now, and what more there is to say. marks: whether the agent was let in.

    Raises FerryRefused when the folder cannot be written; DataFolderUnusable; LedgerUnavailable, LedgerDamaged.
    """
    own = load_server_certificate(identity_folder)
    key = serialization.load_pem_private_key(own.key, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DataFolderUnusable(f"{identity_folder}: the server's key is not one that can seal a file")
    certificate = x509.load_pem_x509_certificate(own.chain).public_bytes(serialization.Encoding.PEM)
    now_us = ledger.database.clock()
    made = datetime.fromtimestamp(now_us / 1e6, UTC)
    path = folder / f"{ANSWER}{agent.agent}-{made:%Y%m%dT%H%M%S%f}{SUFFIX}"
    streams = ledger.streams.listing(agent=agent.agent, department=agent.department) if marks else []
    head = ferry_pb2.FerryHead(agent=agent.agent, department=agent.department, made_at_us=now_us)
    try:
        # no rows are in it, and the agent's user reads it
        writer = FerryWriter(path, head, mode=0o644)
        try:
            for record in streams:
                answer = upload_pb2.UploadResponse(marks=upload_pb2.Marks(marks=[mark_of(record)]))
                writer.add(ferry_pb2.FerryRecord(down=answer))
            for other in more:
                writer.add(other)
            writer.seal(certificate, lambda message: key.sign(message, ec.ECDSA(hashes.SHA256())))
        finally:
            writer.give_up()
    except OSError as error:
        raise FerryRefused(f"{folder}: the answer cannot be written: {error.strerror}") from None
    return path
