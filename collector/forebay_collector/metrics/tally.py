"""Tally: what the stages of this process have done since it started. Plain numbers, one addition a batch."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

ACK_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histogram of durable acknowledgements."""


class Tally:
    """Any thread may call. A stage counts through the method that it was given."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.received = self.received_rows = self.received_bytes = 0
        self.durable = self.durable_bytes = self.not_durable = 0
        self.loaded = 0
        self.removed_bytes = 0
        self.acks = [0] * (len(ACK_BOUNDS_S) + 1)
        """by the bound that they are within; the last: beyond all"""
        self.acks_s = 0.0

    def count_received(self, rows: int, size: int) -> None:
        with self._lock:
            self.received += 1
            self.received_rows += rows
            self.received_bytes += size

    def count_durable(self, size: int, waits_s: Iterable[float]) -> None:
        """size: bytes of all of them together; waits_s: of each, from whole to durable."""
        with self._lock:
            self.durable_bytes += size
            for wait_s in waits_s:
                self.durable += 1
                self.acks_s += wait_s
                self.acks[bisect_left(ACK_BOUNDS_S, wait_s)] += 1

    def count_not_durable(self, batches: int) -> None:
        with self._lock:
            self.not_durable += batches

    def count_loaded(self, batches: int) -> None:
        with self._lock:
            self.loaded += batches

    def count_removed(self, size: int) -> None:
        """Bytes that retention took from the archive."""
        with self._lock:
            self.removed_bytes += size

    def ack_histogram(self) -> tuple[list[int], float]:
        """How many were within each bound and, last, how many there were; and their sum in seconds."""
        with self._lock:
            acks, total_s = list(self.acks), self.acks_s
        within, counts = 0, []
        for count in acks:
            within += count
            counts.append(within)
        return counts, total_s
