"""LoadedMarks: the loader's news, from its threads to the connections that want them.

What other processes settle (a loader of its own, a batch discarded on the command line) is read from the ledger now and
then by `LedgerNews`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from forebay_collector.errors import LedgerUnavailable
from forebay_collector.ledger import Ledger
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

    @property
    def anyone_hears(self) -> bool:
        with self._lock:
            return bool(self._hearing)


class LedgerNews:
    """Publishes the loaded marks that moved since the last step, whoever moved them."""

    def __init__(self, ledger: Ledger, marks: LoadedMarks) -> None:
        self._ledger = ledger
        self._marks = marks
        self._last: dict[StreamName, tuple[int, int]] = {}

    def step(self) -> None:
        if not self._marks.anyone_hears:
            return
        try:
            now = self._ledger.streams.loaded_marks()
        except LedgerUnavailable:
            return  # whoever needs the ledger more says so
        for stream, mark in now.items():
            if self._last.get(stream) != mark:
                self._marks.publish(stream, *mark)
        self._last = now
