"""Pace: how large the chunks of a snapshot are, and when the next one may be read."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

FIRST_ROWS: Final = 5_000
FEWEST_ROWS: Final = 200
MOST_ROWS: Final = 250_000
_STEP: Final = 4.0
_LOOK_SECONDS: Final = 30.0


def _local_time() -> dt.time:
    return dt.datetime.now().astimezone().time()


class Window(Protocol):
    """A daily span of time in which snapshots may read (`forebay_agent.config`)."""

    def is_open(self, now: dt.time) -> bool: ...


class Pace:
    """One per source: tables that are copied share its ceiling.

    chunk_seconds: what one query may take. rows_per_second: over all, 0: no ceiling. windows: none: always.
    chunk_bytes: Arrow bytes of one chunk.
    """

    def __init__(
        self,
        chunk_seconds: float,
        rows_per_second: int,
        windows: Sequence[Window],
        chunk_bytes: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], dt.time] = _local_time,
    ) -> None:
        self._seconds = chunk_seconds
        self._rows_per_second = rows_per_second
        self._windows = windows
        self._chunk_bytes = chunk_bytes
        self._monotonic = monotonic
        self._now = now
        self._not_before = 0.0
        self.rows = self._bounded(FIRST_ROWS)
        """Rows of the next chunk."""

    def took(self, rows: int, size: int, seconds: float) -> None:
        """A chunk of so many rows and bytes took so long: the next one is made to fit."""
        if self._rows_per_second:
            self._not_before = self._monotonic() - seconds + rows / self._rows_per_second
        if not rows:
            return
        wanted = self.rows * min(_STEP, max(1 / _STEP, self._seconds / max(seconds, 1e-6)))
        self.rows = self._bounded(int(min(wanted, self._chunk_bytes * rows / max(size, 1))))

    def wait(self) -> float:
        """Seconds until the next chunk may be read."""
        if self._windows and not any(window.is_open(self._now()) for window in self._windows):
            return _LOOK_SECONDS
        return max(0.0, self._not_before - self._monotonic())

    @property
    def closed(self) -> bool:
        """Whether the snapshot waits for its daily time."""
        return bool(self._windows) and not any(window.is_open(self._now()) for window in self._windows)

    def _bounded(self, rows: int) -> int:
        most = min(MOST_ROWS, self._rows_per_second) if self._rows_per_second else MOST_ROWS
        return max(min(FEWEST_ROWS, most), min(most, rows))
