"""Keeping the process small: what was freed goes back to the system.

A fleet that comes in, and its page that is read ahead, leave holes in the heap that glibc keeps (malloc_trim(3)); of a thousand
idle agents that is some KiB each (`make bench-fleet`).
"""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Takes milliseconds. Where the C library is not glibc, nothing happens."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
