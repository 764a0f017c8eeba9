"""LoadedMarks: the loader's news, from its threads to the connections that want them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from forebay_wire.stream import StreamName

Hears = Callable[[StreamName, int, int], None]


class LoadedMarks:
    """Publish and subscribe by stream, from any thread. Who hears is called in the publisher's thread and returns at
    once; what was published before is not repeated, so subscribe first and read the mark from the ledger then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hearing: dict[StreamName, set[Hears]] = {}

    def publish(self, stream: StreamName, epoch: int, seq: int) -> None:
        with self._lock:
            hearing = tuple(self._hearing.get(stream, ()))
        for hears in hearing:
            hears(stream, epoch, seq)

    def subscribe(self, stream: StreamName, hears: Hears) -> None:
        with self._lock:
            self._hearing.setdefault(stream, set()).add(hears)

    def unsubscribe(self, stream: StreamName, hears: Hears) -> None:
        with self._lock:
            if hearing := self._hearing.get(stream):
                hearing.discard(hears)
                if not hearing:
                    del self._hearing[stream]
