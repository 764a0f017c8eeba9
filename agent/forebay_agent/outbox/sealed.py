"""What was sealed since the process started: counted where batches are kept, a batch at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from forebay_agent.outbox.records import StreamPut


@dataclass(frozen=True, slots=True)
class Sealed:
    """raw_bytes: before compression; bytes: as kept and sent, headers included."""

    batches: int = 0
    rows: int = 0
    raw_bytes: int = 0
    bytes: int = 0


class SealedCount:
    """Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.so_far = Sealed()

    def add(self, puts: Sequence[StreamPut]) -> None:
        kept = [batch for put in puts for batch in put.batches]
        if not kept:
            return
        with self._lock:
            before = self.so_far
            self.so_far = Sealed(
                before.batches + len(kept),
                before.rows + sum(batch.fields.rows for batch in kept),
                before.raw_bytes + sum(batch.fields.raw_bytes for batch in kept),
                before.bytes + sum(batch.size for batch in kept),
            )
