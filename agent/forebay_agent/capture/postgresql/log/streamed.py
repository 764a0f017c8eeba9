"""Transactions that the server streams before they end: their messages, kept until Stream Commit or Stream Abort.

Many such transactions may be under way at once. What all of them hold in memory is bounded; beyond that, the largest one's
goes to an encrypted spill on disk. A transaction's messages stand in one sequence of segments, each as the kernel gave it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from forebay_agent.errors import LogUnreadable

MOST_IN_MEMORY: Final = 8 << 20
_ABORT: Final = struct.Struct("!cII")
_COMMIT: Final = struct.Struct("!cI")


class Spilled(Protocol):
    """`forebay_agent.spill.Spill`."""

    def append(self, record: bytes) -> None: ...
    def records(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...


class _Transaction:
    def __init__(self) -> None:
        self.segments: list[bytes] = []
        self.size = 0
        self.spill: Spilled | None = None
        self.aborted: set[int] = set()

    def to_disk(self, make: Callable[[], Spilled]) -> None:
        if self.spill is None:
            self.spill = make()
        for segment in self.segments:
            self.spill.append(segment)
        self.segments, self.size = [], 0

    def all(self) -> Iterator[bytes]:
        if self.spill is not None:
            yield from self.spill.records()
        yield from self.segments

    def close(self) -> None:
        self.segments = []
        if self.spill is not None:
            self.spill.close()


class Replay:
    """A committed transaction's segments, one after the other. Closed when it was handed on."""

    def __init__(self, transaction: _Transaction) -> None:
        self._transaction = transaction
        self._segments = transaction.all()
        self.aborted = frozenset(transaction.aborted)
        self.segment = b""
        self.at = 0

    def more(self) -> bool:
        """Whether messages are left; `segment` from `at` on holds the next ones."""
        while self.at >= len(self.segment):
            segment = next(self._segments, None)
            if segment is None:
                return False
            self.segment, self.at = segment, 0
        return True

    def close(self) -> None:
        self._transaction.close()


class Streamed:
    """make: a new spill."""

    def __init__(self, make: Callable[[], Spilled]) -> None:
        self._make = make

        self._held = 0
        self._transactions: dict[int, _Transaction] = {}

    def put(self, xid: int, segment: bytes) -> None:
        """xid: of the top transaction."""
        transaction = self._transactions.setdefault(xid, _Transaction())
        transaction.segments.append(segment)
        transaction.size += len(segment)
        self._held += len(segment)
        while self._held > MOST_IN_MEMORY:
            largest = max(self._transactions.values(), key=lambda each: each.size)
            self._held -= largest.size
            largest.to_disk(self._make)

    def abort(self, message: bytes) -> None:
        """A Stream Abort: of the whole transaction, or of a subtransaction. Raises LogUnreadable."""
        try:
            _, xid, aborted = _ABORT.unpack_from(message)
        except struct.error:
            raise LogUnreadable("a Stream Abort message is cut short") from None
        transaction = self._transactions.get(xid)
        if transaction is None:
            return
        if xid != aborted:
            transaction.aborted.add(aborted)
            return
        self._leave(xid)
        transaction.close()

    def commit(self, message: bytes) -> Replay:
        """Of a Stream Commit. Raises LogUnreadable."""
        try:
            _, xid = _COMMIT.unpack_from(message)
        except struct.error:
            raise LogUnreadable("a Stream Commit message is cut short") from None
        return Replay(self._leave(xid))

    def close(self) -> None:
        for transaction in self._transactions.values():
            transaction.close()
        self._transactions = {}

    def _leave(self, xid: int) -> _Transaction:
        transaction = self._transactions.pop(xid, None) or _Transaction()
        self._held -= transaction.size
        return transaction
