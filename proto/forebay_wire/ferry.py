"""Ferry: a file that carries on a disk what the services carry on a line. Its form is laid down in ferry.proto.

Who made it signs the digest of all its bytes. `check` reads the whole file once and tells the seal's certificate, before
anything else of it is looked at; `records` then reads it again, one record in memory at a time.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from google.protobuf.message import DecodeError

from forebay_wire import limits
from forebay_wire.errors import DigestMismatch, LimitExceeded, Malformed
from forebay_wire.v1 import ferry_pb2

FORM: Final = 2
"""what is written; read is that and every one before"""
SUFFIX: Final = ".ferry"
ANSWER: Final = "answer-"
"""what the names of answers begin with"""
HELD_BYTES: Final = 32 << 20
"""A file that is read into memory: Marks of all streams, and what one message holds beside them."""
_PREFIX: Final = b"FOREBAY FERRY "
_LENGTH: Final = struct.Struct(">I")
_MOST: Final = limits.MAX_MESSAGE_BYTES
_UNFINISHED: Final = ".part"
_BLOCK: Final = 1 << 20

Sign = Callable[[bytes], bytes]
"""What `to_sign` gives -> its signature."""


@dataclass(frozen=True, slots=True)
class Held:
    """A small ferry in memory: a disk may answer otherwise when it is asked again."""

    name: str
    content: bytes


def hold(path: Path) -> Held:
    """Raises LimitExceeded, OSError."""
    with path.open("rb") as file:
        content = file.read(HELD_BYTES + 1)
    if len(content) > HELD_BYTES:
        raise LimitExceeded(f"{path.name}: has more than {HELD_BYTES} bytes")
    return Held(path.name, content)


class FerryWriter:
    """Writes beside the path, and gives the file its name when it is sealed: a file with that name is whole.

    Methods raise OSError. A ferry that is not sealed is removed by `give_up`.
    """

    def __init__(self, path: Path, head: ferry_pb2.FerryHead, mode: int = 0o600) -> None:
        """mode: who may read it, where the disk knows such things; rows are in what agents write."""
        self.path = path
        self.size = 0
        self._unfinished = path.with_name(path.name + _UNFINISHED)
        descriptor = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        self._out = os.fdopen(descriptor, "wb", buffering=_BLOCK)
        self._digest = hashlib.sha256()
        self._write(b"%b%d\n" % (_PREFIX, FORM))
        self.add(ferry_pb2.FerryRecord(head=head))

    def add(self, record: ferry_pb2.FerryRecord) -> None:
        content = record.SerializeToString()
        self._write(_LENGTH.pack(len(content)))
        self._write(content)

    def seal(self, certificate: bytes, sign: Sign) -> None:
        """Durable, under its name, when it returns. certificate: PEM."""
        digest = self._digest.digest()
        seal = ferry_pb2.FerrySeal(digest=digest, certificate=certificate, signature=sign(to_sign(digest, certificate)))
        self.add(ferry_pb2.FerryRecord(seal=seal))
        self._out.flush()
        os.fsync(self._out.fileno())
        self._out.close()
        self._unfinished.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def give_up(self) -> None:
        self._out.close()
        self._unfinished.unlink(missing_ok=True)

    def _write(self, content: bytes) -> None:
        self._digest.update(content)
        self.size += len(content)
        self._out.write(content)


def to_sign(digest: bytes, certificate: bytes) -> bytes:
    """What the signature of a seal is over. The certificate belongs to it: of an X.509 certificate some bits can be changed
    without its own signature taking notice."""
    return digest + certificate


def check(source: Path | Held) -> tuple[ferry_pb2.FerryHead, ferry_pb2.FerrySeal]:
    """The head, and the seal whose digest is that of the file. Whose certificate it is, and whether the signature is that
    key's, is for the caller to say.

    Raises: Malformed, LimitExceeded, DigestMismatch, and OSError.
    """
    name = source.name
    with _opened(source) as file:
        digest = hashlib.sha256(_form(file, name))
        head, last = None, b""
        while (length := file.read(_LENGTH.size)) != b"":
            if last:
                digest.update(_LENGTH.pack(len(last)) + last)
            last = _content(file, length, name)
            head = head if head is not None else _parsed(last, name)
    seal = _parsed(last, name) if last else None
    if head is None or seal is None or not head.HasField("head") or not seal.HasField("seal"):
        raise Malformed(f"{name}: is not whole: it does not end with a seal")
    if seal.seal.digest != digest.digest():
        raise DigestMismatch(f"{name}: its bytes are not those that were sealed")
    return head.head, seal.seal


def records(source: Path | Held) -> Iterator[ferry_pb2.FerryRecord]:
    """What stands between head and seal. Raises as `check`."""
    with _opened(source) as file:
        _form(file, source.name)
        while (length := file.read(_LENGTH.size)) != b"":
            record = _parsed(_content(file, length, source.name), source.name)
            kind = record.WhichOneof("kind")
            if kind is None:
                raise Malformed(f"{source.name}: holds a record of a kind that this version does not know")
            if kind not in ("head", "seal"):
                yield record


def _opened(source: Path | Held) -> IO[bytes]:
    return io.BytesIO(source.content) if isinstance(source, Held) else source.open("rb")


def _form(file: IO[bytes], name: str) -> bytes:
    """The first line, as it stands there."""
    line = file.read(len(_PREFIX) + 2)
    number = line[len(_PREFIX) : -1]
    if not line.startswith(_PREFIX) or not line.endswith(b"\n") or not number.isdigit() or not int(number):
        raise Malformed(f"{name}: is not a ferry")
    if int(number) > FORM:
        raise Malformed(
            f"{name}: has form {int(number)}, which a newer version wrote; this one reads forms up to {FORM}: upgrade it"
        )
    return line


def _content(file: IO[bytes], length: bytes, name: str) -> bytes:
    size = _LENGTH.unpack(length)[0] if len(length) == _LENGTH.size else 0
    if not 0 < size <= _MOST:
        raise LimitExceeded(f"{name}: a record of {size} bytes; it has 1 to {_MOST}")
    content = file.read(size)
    if len(content) != size:
        raise Malformed(f"{name}: is cut short")
    return content


def _parsed(content: bytes, name: str) -> ferry_pb2.FerryRecord:
    try:
        return ferry_pb2.FerryRecord.FromString(content)
    except DecodeError:
        raise Malformed(f"{name}: holds a record that cannot be read") from None
