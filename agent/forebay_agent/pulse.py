"""Pulses: every loop of the process says that it goes round, and when it will say so next.

A loop that may rightly be busy for long (a statement of up to `statement_timeout`) promises accordingly. The watchdog is
fed only while every promise holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Pulses:
    """Any thread may call."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}

    def tick(self, loop: str, within: float) -> None:
        """The loop is alive and says so again within so many seconds."""
        with self._lock:
            self._next[loop] = self._monotonic() + within

    def end(self, loop: str) -> None:
        """The loop has ended as it was meant to."""
        with self._lock:
            self._next.pop(loop, None)

    def late(self) -> list[str]:
        """The loops that did not keep their promise."""
        now = self._monotonic()
        with self._lock:
            return sorted(loop for loop, promised in self._next.items() if promised < now)
