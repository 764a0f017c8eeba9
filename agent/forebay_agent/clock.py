"""The clock, injected wherever time matters."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now_us(self) -> int:
        """Wall clock, microseconds since 1970-01-01T00:00:00Z."""

    def monotonic(self) -> float:
        """Seconds that only ever grow, for intervals."""


class SystemClock:
    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()
