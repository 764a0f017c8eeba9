"""What happened when, as it is printed: seconds since the beginning, then words."""

from __future__ import annotations

import threading
import time


class Timeline:
    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self.lines: list[str] = []

    def say(self, what: str) -> None:
        with self._lock:
            line = f"{time.monotonic() - self._began:8.1f} {what}"
            self.lines.append(line)
            print(line, flush=True)
