"""TRANSACTION_PAYLOAD of MySQL 8: the events of one transaction, compressed together.

    fields (type, lenenc length, value) …, 0, then the compressed events
    types: 1 size of the compressed part, 2 compression (0 zstd, 255 none), 3 size of the events

The events stand there whole, with headers and without checksums. They are inflated as they are read, never all at once.
Source: "Transaction_payload_event" of MySQL 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import zstandard

_END, _SIZE, _COMPRESSION, _RAW_SIZE = range(4)
_ZSTD, _NONE = 0, 255
_HEADER: Final = 19
_CHUNK_BYTES: Final = 1 << 20
_MOST_EVENT: Final = (1 << 30) + (1 << 20)
_MOST_WINDOW: Final = 1 << 27


def events(body: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each event. Raises ValueError."""
    at = 0
    fields = {_COMPRESSION: _NONE}
    while True:
        kind, at = _packed(body, at)
        if kind == _END:
            break
        size, at = _packed(body, at)
        if size > len(body) - at:
            raise ValueError("a compressed transaction's head is cut short")
        if kind in (_SIZE, _COMPRESSION, _RAW_SIZE):
            fields[kind], _ = _packed(body[at : at + size], 0)
        at += size
    compressed = body[at:]
    if fields.get(_SIZE, len(compressed)) != len(compressed):
        raise ValueError("a compressed transaction has not the length that it says")
    if fields[_COMPRESSION] not in (_ZSTD, _NONE):
        raise ValueError(f"a transaction is compressed in an unknown way ({fields[_COMPRESSION]})")
    chunks = iter([compressed]) if fields[_COMPRESSION] == _NONE else _inflated(compressed)
    yield from _split(chunks, fields.get(_RAW_SIZE))


def _inflated(data: bytes) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).stream_reader(data, read_across_frames=True)
    try:
        while chunk := reader.read(_CHUNK_BYTES):
            yield chunk
    except zstandard.ZstdError:
        raise ValueError("a compressed transaction is malformed") from None


def _split(chunks: Iterator[bytes], said: int | None) -> Iterator[tuple[int, bytes]]:
    held = bytearray()
    total = 0
    for chunk in chunks:
        held += chunk
        total += len(chunk)
        if said is not None and total > said:
            raise ValueError("a compressed transaction is longer than it says")
        at = 0
        while len(held) - at >= _HEADER:
            size = int.from_bytes(held[at + 9 : at + 13], "little")
            if not _HEADER <= size <= _MOST_EVENT:
                raise ValueError("an event of a compressed transaction has an impossible length")
            if len(held) - at < size:
                break
            yield held[at + 4], bytes(held[at + _HEADER : at + size])
            at += size
        del held[:at]
    if held or (said is not None and total != said):
        raise ValueError("a compressed transaction ends too early")


def _packed(data: bytes, at: int) -> tuple[int, int]:
    """A length-encoded integer, and where it ends."""
    if at >= len(data) or data[at] in (251, 255):
        raise ValueError("a compressed transaction's head is malformed")
    if data[at] < 251:
        return data[at], at + 1
    width = {252: 2, 253: 3, 254: 8}[data[at]]
    if at + 1 + width > len(data):
        raise ValueError("a compressed transaction's head is cut short")
    return int.from_bytes(data[at + 1 : at + 1 + width], "little"), at + 1 + width
