"""Recent: what was read of the ledger a moment ago, for everybody who asks for the same at about the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

_MOST: Final = 512
T = TypeVar("T")


@dataclass(slots=True)
class _Kept:
    reading: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    until: float = -1.0


class Recent:
    """Values by key, each kept for a short while. Who asks while one is being read waits for it and reads nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[Hashable, _Kept] = {}

    def get(self, key: Hashable, seconds: float, read: Callable[[], T]) -> T:
        """The value under the key, read anew when it is older than so many seconds. Raises what `read` raises."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                if len(self._kept) >= _MOST:
                    self._drop_old()
                kept = self._kept[key] = _Kept()
        with kept.reading:
            if self._clock() >= kept.until:
                kept.value = read()
                kept.until = self._clock() + seconds
            value: T = kept.value
            return value

    def forget(self) -> None:
        """Something was changed: everything is read anew."""
        with self._lock:
            self._kept.clear()

    def _drop_old(self) -> None:
        now = self._clock()
        self._kept = {key: kept for key, kept in self._kept.items() if kept.until > now}
        if len(self._kept) >= _MOST:
            self._kept.clear()
