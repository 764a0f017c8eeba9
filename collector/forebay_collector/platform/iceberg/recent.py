"""A cache of what was used most recently, bounded by weight."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keeps values until their weights pass `limit`, then lets the least recently used go. Used by several threads."""

    def __init__(self, limit: int, weigh: Callable[[V], int]) -> None:
        self._limit = limit
        self._weigh = weigh
        self._held: OrderedDict[K, V] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    @property
    def weight(self) -> int:
        """Of everything held."""
        return self._weight

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value held for `key`, else what `make` makes, which is then held if it fits at all."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        value = make()
        weight = self._weigh(value)
        if weight > self._limit:
            return value
        with self._lock:
            if key not in self._held:
                self._held[key] = value
                self._weight += weight
            while self._weight > self._limit:
                _, gone = self._held.popitem(last=False)
                self._weight -= self._weigh(gone)
        return value

    def drop(self, key: K) -> None:
        """Lets one value go."""
        with self._lock:
            if key in self._held:
                self._weight -= self._weigh(self._held.pop(key))
