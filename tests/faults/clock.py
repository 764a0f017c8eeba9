"""Time that counts only while the harness itself runs.

A machine that stands still for a while (a suspended virtual machine, SIGSTOP by whoever needs it) makes nobody late: a tick
counts for a second at most, however long it took. Every deadline of the harness is a moment of this clock.
"""

from __future__ import annotations

import threading
import time
from typing import Final

_TICK_S: Final = 0.1
_MOST_S: Final = 1.0


class Clock:
    """now: seconds that were lived through. missed: seconds that were not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read = time.monotonic()
        self._now = 0.0
        self._missed = 0.0
        threading.Thread(target=self._tick, name="clock", daemon=True).start()

    @property
    def now(self) -> float:
        self._look()
        return self._now

    @property
    def missed(self) -> float:
        self._look()
        return self._missed

    def _look(self) -> None:
        with self._lock:
            read = time.monotonic()
            passed, self._read = read - self._read, read
            counted = min(passed, _MOST_S)
            self._now += counted
            self._missed += passed - counted

    def _tick(self) -> None:
        while True:
            time.sleep(_TICK_S)
            self._look()


CLOCK: Final = Clock()
