"""Which snapshots are being read in this process, so that expiry leaves their files alone."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator


class Leases:
    """Counts readers per snapshot id. Used by several threads."""

    def __init__(self) -> None:
        self._held: Counter[int] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def reading(self, *snapshot_ids: int | None) -> Iterator[None]:
        """Holds the snapshots while the body runs."""
        ids = [snapshot_id for snapshot_id in snapshot_ids if snapshot_id is not None]
        with self._lock:
            self._held.update(ids)
        try:
            yield
        finally:
            with self._lock:
                self._held.subtract(ids)
                self._held += Counter()

    def __contains__(self, snapshot_id: object) -> bool:
        with self._lock:
            return any(held == snapshot_id for held in self._held)
