"""Turns: whose batch is sent next. Stride scheduling: a stream's share of the bytes is 1/priority; none starves."""

from __future__ import annotations

from collections.abc import Iterable


class Turns:
    """A stream's pass grows by bytes times priority; the smallest pass is next. Used by one thread."""

    def __init__(self) -> None:
        self._passes: dict[int, int] = {}
        self._now = 0

    def pick(self, ready: Iterable[int]) -> int | None:
        """The stream that is next of those that are ready; None when none is."""
        chosen = min(ready, key=self._pass, default=None)
        if chosen is not None:
            self._now = self._pass(chosen)
        return chosen

    def spent(self, stream: int, size: int, priority: int) -> None:
        """The stream sent `size` bytes."""
        self._passes[stream] = self._pass(stream) + size * priority

    def _pass(self, stream: int) -> int:
        # one that had nothing to send gathers no claim to the past
        return max(self._passes.get(stream, 0), self._now)
