"""Room: how much payload of all connections may be in memory. Beyond it a connection waits before it reads on."""

from __future__ import annotations

import asyncio
from collections import deque


class Room:
    """Bytes, first come first served. Used by the event loop only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def taken(self) -> int:
        return self._taken

    async def take(self, size: int) -> None:
        """Waits for room; a batch that is larger than all of it gets in when it is alone."""
        if not self._queue and self._fits(size):
            self._taken += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            raise

    def give_back(self, size: int) -> None:
        self._taken -= size
        while self._queue:
            wanted, turn = self._queue[0]
            if turn.cancelled():
                self._queue.popleft()
            elif self._fits(wanted):
                self._queue.popleft()
                self._taken += wanted
                turn.set_result(None)
            else:
                return

    def _fits(self, size: int) -> bool:
        return not self._taken or self._taken + size <= self._limit
