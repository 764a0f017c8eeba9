"""A spill: records put aside until they are wanted, in memory while they are few, then on disk, encrypted.

What is put aside was not masked yet, so that nothing of it may be read from the disk: each block is encrypted with a key
that lives only in this process, and the file has no name. After a crash the file is gone, and the log is read again.

    file: blocks, each 4 bytes length, then AES-256-GCM (nonce: the block's number) of zstd of frames
    frame: 4 bytes length, record
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from forebay_agent.errors import SourceError

BLOCK_BYTES: Final = 1 << 20
_LENGTH: Final = struct.Struct("<I")
_KEY_BITS: Final = 256
_NONCE_BYTES: Final = 12
_LEVEL: Final = 1


class Spill:
    """Appended to, then read any number of times, then closed. folder: on a disk with room; None: systemd's state
    directory, or else the system's folder for temporary files.

    Raises SourceError when the disk refuses: what is read from the source cannot be kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder or Path(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or tempfile.gettempdir())
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._blocks = 0
        self._file: IO[bytes] | None = None
        self._cipher: AESGCM | None = None

    def append(self, record: bytes) -> None:
        self._pending += (_LENGTH.pack(len(record)), record)
        self._pending_bytes += len(record)
        if self._pending_bytes >= BLOCK_BYTES:
            self._write()

    def records(self) -> Iterator[bytes]:
        """In the order in which they were appended; not to be appended to meanwhile."""
        if self._file is not None:
            try:
                self._file.seek(0)
                for number in range(self._blocks):
                    yield from _frames(self._block(number, self._file))
                self._file.seek(0, os.SEEK_END)
            except OSError as error:
                raise self._refused(error) from None
        yield from _frames(b"".join(self._pending))

    def close(self) -> None:
        self._pending, self._pending_bytes, self._blocks = [], 0, 0
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # what was not written yet need not be
                file.close()

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by close
                self._cipher = AESGCM(AESGCM.generate_key(_KEY_BITS))
            assert self._cipher is not None
            packed = zstandard.ZstdCompressor(level=_LEVEL).compress(b"".join(self._pending))
            sealed = self._cipher.encrypt(self._blocks.to_bytes(_NONCE_BYTES), packed, None)
            self._file.write(_LENGTH.pack(len(sealed)))
            self._file.write(sealed)
        except OSError as error:
            raise self._refused(error) from None
        self._pending, self._pending_bytes = [], 0
        self._blocks += 1

    def _block(self, number: int, file: IO[bytes]) -> bytes:
        assert self._cipher is not None
        try:
            (size,) = _LENGTH.unpack(file.read(_LENGTH.size))
            packed = self._cipher.decrypt(number.to_bytes(_NONCE_BYTES), file.read(size), None)
        except (InvalidTag, struct.error):
            raise SourceError(
                f"what was put aside in {self._folder} was altered on the disk",
                remedy="Check the disk; the log is read again from where it was left.",
            ) from None
        return zstandard.ZstdDecompressor().decompress(packed)

    def _refused(self, error: OSError) -> SourceError:
        return SourceError(
            f"a large transaction cannot be put aside in {self._folder}: {error.strerror}",
            remedy="Free disk space there; the log is read again from where it was left.",
        )


def _frames(block: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(block):
        (size,) = _LENGTH.unpack_from(block, at)
        at += _LENGTH.size
        yield block[at : at + size]
        at += size
