"""Bandwidth: a token bucket that holds one second's worth, and may be overdrawn by one message."""

from __future__ import annotations

from collections.abc import Callable


class Bandwidth:
    """rate: bytes per second, 0: no limit. Used by one thread."""

    def __init__(self, rate: int, monotonic: Callable[[], float]) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._tokens = float(rate)
        self._at = monotonic()

    def take(self, size: int) -> float:
        """Takes `size` bytes' worth. -> seconds to wait before they are sent."""
        if not self._rate:
            return 0.0
        now = self._monotonic()
        self._tokens = min(float(self._rate), self._tokens + (now - self._at) * self._rate) - size
        self._at = now
        return max(0.0, -self._tokens / self._rate)
