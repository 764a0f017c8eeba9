"""Values with units as people write them: `"15s"`, `"10GiB"`, `"2MiB/s"`.

Every function raises ValueError with a sentence that says what is expected; none repeats what was written.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", re.ASCII)
_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s\[\]:/@]+)):(\d{1,5})", re.ASCII)


def duration(text: str) -> timedelta:
    """`"500ms"`, `"15s"`, `"2m"`, `"1h"`, `"7d"`."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found[2] not in _SECONDS:
        raise ValueError('a duration is a number and a unit: "500ms", "15s", "2m", "1h" or "7d"')
    try:
        return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    except OverflowError:
        raise ValueError("the duration is too long") from None


def size(text: str) -> int:
    """Bytes: `"512MiB"`, `"10GiB"`, `"64KiB"`, `"1GB"`."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found[2] not in _BYTES:
        raise ValueError('a size is a number and a unit: "64KiB", "512MiB", "10GiB" (or kB, MB, GB)')
    return int(float(found[1]) * _BYTES[found[2]])


def bandwidth(text: str) -> int:
    """Bytes per second: `"2MiB/s"`."""
    amount, slash, per = text.strip().partition("/")
    if not slash or per != "s":
        raise ValueError('a bandwidth is a size per second: "2MiB/s"')
    try:
        return size(amount)
    except ValueError:
        raise ValueError('a bandwidth is a size per second: "2MiB/s"') from None


def address(text: str) -> tuple[str, int]:
    """`"host:port"` or `"[v6]:port"` -> host and port."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        raise ValueError('an address is "host:port", for IPv6 "[address]:port"')
    port = int(found[3])
    if not 1 <= port <= 65535:
        raise ValueError("a port is a number from 1 to 65535")
    return found[1] or found[2], port
