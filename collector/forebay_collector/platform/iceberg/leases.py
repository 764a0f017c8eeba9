"""Who reads which table in this process, and since when, so that the files stay that a reader may still open."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from uuid import UUID


class Leases:
    """The readers. `clock`: seconds since 1970. Used by several threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self._held: dict[int, tuple[UUID, float]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def reading(self, table: UUID) -> Iterator[None]:
        """Holds the files of the table (its UUID), as it is before the body begins, while the body runs."""
        with self._lock:
            number = next(self._numbers)
            self._held[number] = (table, self._clock())
        try:
            yield
        finally:
            with self._lock:
                del self._held[number]

    def oldest(self, table: UUID) -> float:
        """When the table's oldest reader began; infinity when there is none."""
        with self._lock:
            return min((began for held, began in self._held.values() if held == table), default=float("inf"))
