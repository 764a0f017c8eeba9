"""Keeping the process small: rows come and go in buffers of megabytes, which must go back to the system.

glibc raises its mmap threshold to the largest block freed so far and keeps an arena per thread, so that a process which
handles 10 MiB buffers in three threads holds a multiple of what it uses (mallopt(3), M_MMAP_THRESHOLD, M_ARENA_MAX).
Arrow's own pool is chosen in `forebay_agent/__init__.py`, before Arrow is loaded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

import pyarrow as pa

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_THRESHOLD_BYTES: Final = 256 << 10
_WORTH_BYTES: Final = 16 << 20


def keep_small() -> None:
    """To be called once, before threads start. Where the C library is not glibc, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
        mallopt(_M_ARENA_MAX, 2)


def give_back() -> None:
    """Returns to the system what was freed and is kept for later: Arrow's pool and glibc's heap (malloc_trim(3)), which gives
    only its end back by itself."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Slack:
    """What a busy time leaves unused goes back when it is over. Used by one thread, which looks about every second."""

    def __init__(self, give_back: Callable[[], None] = give_back) -> None:
        self._give_back = give_back
        self._seen = self._given_at = 0

    def look(self, sealed: int) -> None:
        """sealed: bytes since the process started, before compression."""
        is_quiet, self._seen = sealed == self._seen, sealed
        if is_quiet and sealed - self._given_at >= _WORTH_BYTES:
            self._given_at = sealed
            self._give_back()
