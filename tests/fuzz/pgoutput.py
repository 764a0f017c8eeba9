"""The pgoutput kernel against the reference in plain Python: the same rows, the same refusals, no crash.

Input: a byte that says which table is followed and how (`_SCHEMAS`; its lowest bit: 0 as CopyData messages that libpq would
hand over, 1 as frames of a streamed transaction), then messages, each behind 2 bytes of length, or the frames themselves.
"""

from __future__ import annotations

import ctypes
from collections import deque
from typing import Final

import pyarrow as pa

from forebay_agent.kernel import pgoutput as kernel
from forebay_agent.kernel.pgoutput import LogScanner, TableDecoder
from tests.fuzz.driver import main
from tests.reference.pgoutput import Decoder, Malformed, Table, plain_rows
from tests.reference.pgoutput_messages import relation, stream_commit

RELATION: Final = 16_384
SKIPPED: Final = 16_385
ABORTED: Final = 701
_SCHEMAS: Final[tuple[tuple[list[pa.DataType], list[int]], ...]] = (
    ([pa.int64(), pa.string(), pa.decimal128(18, 2), pa.timestamp("us", tz="UTC"), pa.float64()], [0]),
    ([pa.int32(), pa.bool_(), pa.date32(), pa.timestamp("us"), pa.float32(), pa.binary()], [0, 2]),
    ([pa.string(), pa.decimal128(38, 10), pa.decimal128(5, 5)], [0]),
    ([pa.string()], []),
)
_LIBC: Final = ctypes.CDLL(None)
_LIBC.malloc.restype = ctypes.c_void_p


class Pipe:
    """What of libpq the kernel calls: messages that came before the connection broke."""

    def __init__(self) -> None:
        self.messages: deque[bytes] = deque()
        self._kept = (
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int)(self._next),
            _LIBC.free,
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: 0),
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: -1),
        )
        a, b, c, d = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in self._kept)
        self.functions = (a, b, c, d)

    def _next(self, connection: int, message: ctypes._Pointer[ctypes.c_void_p], wait: int) -> int:
        if not self.messages:
            return 0
        data = self.messages.popleft()
        copy = _LIBC.malloc(len(data))  # no byte more: what reads beyond is seen by a checking allocator
        ctypes.memmove(copy, data, len(data))
        message[0] = ctypes.c_void_p(copy)
        return len(data)


PIPE: Final = Pipe()


class Pair:
    """Kernel and reference with the same table."""

    def __init__(self, which: int) -> None:
        kinds, keys = _SCHEMAS[which % len(_SCHEMAS)]
        self.schema = pa.schema([(f"c{number}", kind) for number, kind in enumerate(kinds)])
        places, forms = list(range(len(kinds))), [0] * len(kinds)
        if which % len(_SCHEMAS) == 2:
            places.reverse()
        if which % len(_SCHEMAS) == 3:
            forms = [1 + which // len(_SCHEMAS) % 2]
        described = relation(RELATION, self.schema.names, keys)
        self.decoder = TableDecoder(self.schema, places, len(kinds), keys, forms)
        self.scanner = LogScanner(most_rows=5, most_bytes=4_000, segment_bytes=200)
        self.scanner.register(described, self.decoder)
        self.scanner.register(relation(SKIPPED, ["x"]), None)
        self.table = Table(self.schema, places, len(kinds), list(keys), forms)
        self.reference = Decoder({RELATION: (described, self.table), SKIPPED: (relation(SKIPPED, ["x"]), None)})

    def compare(self) -> None:
        assert self.decoder.unfit == self.table.unfit
        count = self.decoder.rows
        batch = self.decoder.take()
        batch.validate(full=pa.string() not in self.schema.types)
        assert plain_rows([batch]) == self.table.rows[:count]
        assert len(self.table.rows) == count
        self.table.rows.clear()
        self.table.unfit = None


def one(data: bytes) -> None:
    if data:
        pair = Pair(data[0] >> 1)
        (_frames if data[0] & 1 else _messages)(pair, data[1:])


def _messages(pair: Pair, data: bytes) -> None:
    """One message at a time through `drain`; the reference follows as long as no stream segment comes."""
    at, segments = 0, False
    while at < len(data):
        size = int.from_bytes(data[at : at + 2])
        message = data[at + 2 : at + 2 + size]
        at += 2 + size
        PIPE.messages.append(message)
        if not message:
            PIPE.messages.clear()  # libpq hands over no message without bytes
            continue
        segments = segments or (message[:1] == b"w" and message[25:26] in (b"S", b"E"))
        refused = handled = reason = error = None
        if not segments:
            try:
                handled = _reference(pair, message)
            except Malformed as malformed:
                refused = malformed
        try:
            reason = pair.scanner.drain(PIPE.functions, 1, 0)
        except ValueError as malformed:
            error = malformed
        PIPE.messages.clear()
        if segments:
            if error is not None:
                break
            if reason == kernel.SEGMENT:
                pair.scanner.take_segment()
            pair.decoder.take().validate()
            continue
        assert (error is None) == (refused is None), (message, error, refused)
        if error is not None:
            break
        assert (reason == kernel.MESSAGE) == (handled is False), message
        if reason in (kernel.FULL, kernel.UNFIT):
            pair.compare()
    if not segments:
        pair.compare()


def _reference(pair: Pair, message: bytes) -> bool:
    if len(message) >= 25 and message[:1] == b"w":
        return pair.reference.feed(message[25:])
    if len(message) == 18 and message[:1] == b"k":
        return True
    raise Malformed("no CopyData")


def _frames(pair: Pair, data: bytes) -> None:
    pair.scanner.begin_streamed(stream_commit(700, 5, 6), [ABORTED])
    pair.reference.transaction = (5, 946_684_800_000_000, 700)
    at = 0
    while at < len(data):
        try:
            reason, end = pair.scanner.replay(data, at)
        except ValueError:
            _expected(pair, data, at, None)
            break
        assert end > at or reason in (kernel.FULL, kernel.UNFIT)
        _expected(pair, data, at, end)
        at = end
        if reason in (kernel.FULL, kernel.UNFIT):
            pair.compare()
    pair.compare()


def _expected(pair: Pair, data: bytes, at: int, end: int | None) -> None:
    """The reference reads the frames up to `end`; None: until one is malformed."""
    while end is None or at < end:
        size = int.from_bytes(data[at : at + 4], "little")
        message = data[at + 12 : at + 12 + size]
        if len(data) < at + 12 or len(message) < size or size < 5:
            assert end is None
            return
        at += 12 + size
        if int.from_bytes(message[1:5]) == ABORTED:
            continue
        try:
            pair.reference.feed(message, streamed=True)
        except Malformed:
            assert end is None
            return
        assert end is not None or at <= len(data)
    assert at == end


if __name__ == "__main__":
    main("pgoutput", one)
