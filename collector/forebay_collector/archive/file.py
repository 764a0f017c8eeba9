"""The format of an archived batch: the sealed batch itself behind a short preamble. Extension: `.batch`.

    offset  bytes  content
    0       8      magic `FBBATCH1`
    8       4      header length n, big-endian
    12      n      header (serialised BatchHeader): the bytes that the agent sealed
    12+n    rest   payload: the bytes that the agent sealed; its length stands in the header

The header carries the payload's digest and the chain digest over both, so the file needs no checksum of its own.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from forebay_collector.errors import ArchiveDamaged
from forebay_wire import limits
from forebay_wire.errors import WireError
from forebay_wire.seal import SealedBatch, check_digests, parse_header
from forebay_wire.stream import StreamName

MAGIC: Final = b"FBBATCH1"
_PREAMBLE: Final = struct.Struct(">8sI")


def preamble(batch: SealedBatch) -> bytes:
    """What stands before header and payload."""
    return _PREAMBLE.pack(MAGIC, len(batch.header))


def stream_in(path: Path) -> StreamName | None:
    """Whose batch a file says that it holds; None: it does not say. Its digests are not checked. Raises OSError."""
    with path.open("rb") as content:
        magic, header_bytes = _PREAMBLE.unpack(content.read(_PREAMBLE.size).ljust(_PREAMBLE.size, b"\0"))
        if magic != MAGIC or header_bytes > limits.MAX_HEADER_BYTES:
            return None
        try:
            return StreamName.from_proto(parse_header(content.read(header_bytes)).stream)
        except WireError:
            return None


def parse(path: Path, content: bytes, stream: StreamName, epoch: int, seq: int) -> SealedBatch:
    """The batch in a file's content, its digests checked. Raises ArchiveDamaged, naming the file."""
    if len(content) < _PREAMBLE.size:
        raise ArchiveDamaged(f"archive file {path}: cut short at {len(content)} bytes")
    magic, header_bytes = _PREAMBLE.unpack_from(content)
    if magic != MAGIC or header_bytes > limits.MAX_HEADER_BYTES:
        raise ArchiveDamaged(f"archive file {path}: is not an archived batch")
    end = _PREAMBLE.size + header_bytes
    batch = SealedBatch(content[_PREAMBLE.size : end], content[end:])
    try:
        check_digests(batch)
    except WireError as error:
        raise ArchiveDamaged(f"archive file {path}: {error}") from error
    if (batch.stream, batch.epoch, batch.seq) != (stream, epoch, seq):
        holds = f"{batch.stream} {batch.epoch}/{batch.seq}"
        raise ArchiveDamaged(f"archive file {path}: holds {holds}", holds=holds)
    return batch
