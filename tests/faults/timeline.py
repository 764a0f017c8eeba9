"""What happened when, as it is printed: seconds since the beginning, then words."""

from __future__ import annotations

import threading

from tests.faults.clock import CLOCK


class Timeline:
    def __init__(self) -> None:
        self._began = CLOCK.now
        self._lock = threading.Lock()
        self.lines: list[str] = []

    def say(self, what: str) -> None:
        with self._lock:
            line = f"{CLOCK.now - self._began:8.1f} {what}"
            self.lines.append(line)
            print(line, flush=True)
