"""Pace: how often one subject, such as an address, may do something. Kept in memory, bounded, and never wrong by much.

Each subject has a bucket of `burst` tokens that fills with `per_s` a second; a deed takes one. What is remembered of
failed log-ins for longer, and shared by all processes, stands in the ledger (`login`).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable


class Pace:
    """Safe to use from any thread. `clock`: seconds, monotonic."""

    def __init__(
        self, per_s: float, burst: int, *, subjects: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """subjects: how many are remembered; beyond them the one that was quiet longest is forgotten."""
        self._per_s = per_s
        self._burst = float(burst)
        self._subjects = subjects
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def wait_s(self, subject: str) -> float:
        """Takes a token; -> 0 when there was one, else the seconds until there is one."""
        with self._lock:
            now = self._clock()
            tokens, at = self._buckets.pop(subject, (self._burst, now))
            tokens = min(self._burst, tokens + (now - at) * self._per_s)
            wait = 0.0 if tokens >= 1 else (1 - tokens) / self._per_s
            self._buckets[subject] = (tokens if wait else tokens - 1, now)
            if len(self._buckets) > self._subjects:
                self._buckets.popitem(last=False)
        return wait
