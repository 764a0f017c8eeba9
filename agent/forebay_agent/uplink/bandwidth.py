"""Bandwidth: a token bucket that holds one second's worth, and may be overdrawn by one message."""

from __future__ import annotations

from collections.abc import Callable


class Bandwidth:
    """rate: bytes per second, 0: no limit. Used by one thread, but for `tune`."""

    def __init__(self, rate: int, monotonic: Callable[[], float]) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._tokens = float(rate)
        self._at = monotonic()

    def tune(self, rate: int) -> None:
        """Another rate from now on; what is owed is waited for at that."""
        self._rate = rate

    def take(self, size: int) -> float:
        """Takes `size` bytes' worth. -> seconds to wait before they are sent."""
        self._refill()
        if self._rate:
            self._tokens -= size
        return self.owed()

    def owed(self) -> float:
        """Seconds to wait, at the rate of now, before what was taken is sent."""
        rate = self._rate
        if not rate:
            return 0.0
        self._refill()
        return max(0.0, -self._tokens / rate)

    def _refill(self) -> None:
        now, rate = self._monotonic(), self._rate
        self._tokens = min(float(rate), self._tokens + (now - self._at) * rate)
        self._at = now
