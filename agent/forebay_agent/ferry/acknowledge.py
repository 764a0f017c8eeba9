"""Acknowledge: the centre's answer to what was carried to it. What it calls durable leaves the outbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from forebay_agent.channel import SERVER_NAME
from forebay_agent.errors import CollectorBehind, FerryUnusable, StateLost
from forebay_agent.identity import UNREADABLE, Identity
from forebay_agent.outbox import Outbox, OutboxReader
from forebay_agent.uplink.fit import CollectorMark, check_fit
from forebay_wire import ferry
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName
from forebay_wire.v1 import ferry_pb2, upload_pb2


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One stream of one answer. deleted: its batches that left the outbox. trouble: why none did, when the two do not fit."""

    stream: StreamName
    epoch: int
    seq: int
    deleted: int
    trouble: StateLost | None = None


def answers(folder: Path) -> list[Path]:
    """The answers in a folder, oldest first by their names. Raises FerryUnusable when it cannot be listed."""
    try:
        return sorted(
            path for path in folder.iterdir() if path.name.startswith(ferry.ANSWER) and path.suffix == ferry.SUFFIX
        )
    except OSError as error:
        raise FerryUnusable(f"{folder}: cannot be read: {error.strerror}") from None


def acknowledge(path: Path, own: Identity, outbox: Outbox) -> list[Acknowledged]:
    """Deletes what the answer says is durable. Taking one twice changes nothing.

    Raises: FerryUnusable when it is damaged, not this agent's, or not from its centre; OutboxDamaged, OutboxFull,
        StateFolderUnusable.
    """
    try:
        head, seal = ferry.check(path)
        _check_sealed_by_centre(path, seal, own)
        if head.agent != own.agent:
            raise FerryUnusable(f"{path.name}: is for agent {head.agent}; this one is {own.agent}")
        found: list[Acknowledged] = []
        with closing(outbox.reader()) as reader:
            for record in ferry.records(path):
                for mark in record.down.marks.marks:
                    found += _take(mark, outbox, reader)
        return found
    except WireError as error:
        raise FerryUnusable(str(error)) from None
    except OSError as error:
        raise FerryUnusable(f"{path}: cannot be read: {error.strerror}") from None


def _take(mark: upload_pb2.Mark, outbox: Outbox, reader: OutboxReader) -> Iterator[Acknowledged]:
    name = StreamName.from_proto(mark.stream)
    known = {stream.name: stream.id for stream in reader.streams()}
    if name not in known:
        return
    record, first = reader.standing(known[name])
    held = CollectorMark.of(mark)
    try:
        check_fit(record, first, lambda epoch, seq: reader.find(record.id, epoch, seq), held)
    except CollectorBehind:  # an older answer than what a line, or a newer one, has told since: it says nothing new
        yield Acknowledged(name, *held.at, 0)
        return
    except StateLost as error:
        yield Acknowledged(name, *held.at, 0, error)
        return
    deleted = outbox.delete({record.id: held.at}) if held.epoch else 0
    yield Acknowledged(name, *held.at, deleted)


def _check_sealed_by_centre(path: Path, seal: ferry_pb2.FerrySeal, own: Identity) -> None:
    authority = x509.load_pem_x509_certificate(own.authority)
    try:
        certificate = x509.load_pem_x509_certificate(seal.certificate)
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        key = certificate.public_key()
        centre = SERVER_NAME in names.get_values_for_type(x509.DNSName)
        if not centre or ExtendedKeyUsageOID.SERVER_AUTH not in usage or not isinstance(key, ec.EllipticCurvePublicKey):
            raise FerryUnusable(f"{path.name}: was not sealed by the collector")
        key.verify(seal.signature, ferry.to_sign(seal.digest, seal.certificate), ec.ECDSA(hashes.SHA256()))
    except (*UNREADABLE, InvalidSignature, x509.ExtensionNotFound):
        raise FerryUnusable(f"{path.name}: was not sealed by this agent's centre") from None
