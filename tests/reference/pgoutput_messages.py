"""pgoutput's messages as a server writes them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

UNCHANGED: Final = object()
"""stands in a tuple for a TOASTed value that was not sent"""
Field = object


def tuple_data(values: Sequence[Field]) -> bytes:
    """values: bytes, None or UNCHANGED."""
    parts = [struct.pack("!H", len(values))]
    for value in values:
        if isinstance(value, bytes):
            parts.append(b"t" + struct.pack("!I", len(value)) + value)
        else:
            parts.append(b"n" if value is None else b"u")
    return b"".join(parts)


def relation(number: int, columns: Sequence[str], keys: Sequence[int] = (0,), identity: bytes = b"d") -> bytes:
    parts = [b"R", struct.pack("!I", number), b"public\0t\0", identity, struct.pack("!H", len(columns))]
    for at, name in enumerate(columns):
        parts.append(bytes([at in keys]) + name.encode() + b"\0" + struct.pack("!Ii", 25, -1))
    return b"".join(parts)


def begin(final: int, time: int = 0, xid: int = 7) -> bytes:
    return b"B" + struct.pack("!QqI", final, time, xid)


def commit(final: int, end: int, time: int = 0) -> bytes:
    return b"C\0" + struct.pack("!QQq", final, end, time)


def insert(number: int, new: Sequence[Field]) -> bytes:
    return b"I" + struct.pack("!I", number) + b"N" + tuple_data(new)


def update(number: int, new: Sequence[Field], old: Sequence[Field] | None = None, kind: bytes = b"K") -> bytes:
    before = b"" if old is None else kind + tuple_data(old)
    return b"U" + struct.pack("!I", number) + before + b"N" + tuple_data(new)


def delete(number: int, old: Sequence[Field], kind: bytes = b"K") -> bytes:
    return b"D" + struct.pack("!I", number) + kind + tuple_data(old)


def truncate(*numbers: int) -> bytes:
    return b"T" + struct.pack("!IB", len(numbers), 0) + struct.pack(f"!{len(numbers)}I", *numbers)


def stream_start(xid: int, *, first: bool = True) -> bytes:
    return b"S" + struct.pack("!IB", xid, first)


STREAM_STOP: Final = b"E"


def stream_commit(xid: int, final: int, end: int, time: int = 0) -> bytes:
    return b"c" + struct.pack("!IBQQq", xid, 0, final, end, time)


def stream_abort(xid: int, sub: int) -> bytes:
    return b"A" + struct.pack("!II", xid, sub)


def streamed(xid: int, message: bytes) -> bytes:
    """The message as it stands in a stream segment."""
    return message[:1] + struct.pack("!I", xid) + message[1:]
