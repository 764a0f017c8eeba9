"""Keeping the process small: rows come and go in buffers of megabytes, which must go back to the system.

glibc raises its mmap threshold to the largest block freed so far and keeps an arena per thread, so that a process which
handles 10 MiB buffers in three threads holds a multiple of what it uses (mallopt(3), M_MMAP_THRESHOLD, M_ARENA_MAX).
Arrow's own pool is chosen in `forebay_agent/__init__.py`, before Arrow is loaded.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_THRESHOLD_BYTES: Final = 256 << 10


def keep_small() -> None:
    """To be called once, before threads start. Where the C library is not glibc, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
        mallopt(_M_ARENA_MAX, 2)
