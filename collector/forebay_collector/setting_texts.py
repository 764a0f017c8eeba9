"""How the texts of settings are read: sizes, durations, addresses, words. Each raises ValueError, saying what it expected."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from forebay_collector.identity.authority import host_of
from forebay_collector.service.actor import Role

_SIZES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DURATIONS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def size(text: str) -> int:
    """Bytes in `512MiB`, `10GiB`. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,15}) ?([KMGT]iB|B)", text)
    if match is None:
        raise ValueError('expected a size such as "512MiB" or "10GiB"')
    return int(match[1]) * _SIZES[match[2]]


def duration(text: str) -> timedelta:
    """The duration in `500ms`, `30d`. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,9}) ?(ms|[smhd])", text)
    if match is None:
        raise ValueError('expected a duration such as "500ms", "10s" or "30d"')
    return int(match[1]) * _DURATIONS[match[2]]


def size_text(count: int) -> str:
    """As `size` reads it, with the largest unit that is exact."""
    return next(f"{count // unit}{name}" for name, unit in reversed(_SIZES.items()) if count % unit == 0)


def duration_text(value: timedelta) -> str:
    """As `duration` reads it, with the largest unit that is exact; whole milliseconds."""
    if not value:
        return "0s"
    return next(f"{value // unit}{name}" for name, unit in reversed(_DURATIONS.items()) if not value % unit)


def address(text: str) -> str:
    """A `host:port` that was checked. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host_of(text) or not port.isdecimal() or not 0 <= int(port) <= 65_535:
        raise ValueError('expected "host:port", for IPv6 "[address]:port"')
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError('an IPv6 address stands in brackets: "[address]:port"')
    return text


def address_or_none(text: str) -> str:
    """As `address`; empty: none. Raises ValueError."""
    return address(text) if text else text


def web_address(text: str) -> str:
    """An `https://` address, or `http://` on this machine; empty: none. Raises ValueError."""
    parts = urlsplit(text)
    plain = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    if text and (not (parts.scheme == "https" or plain) or not parts.hostname or parts.query or parts.fragment):
        raise ValueError('expected "https://host/…"; "http://" on this machine only')
    return text


def departments_group(text: str) -> tuple[str, str]:
    """The group and its department, in `GROUP=DEPARTMENT`. Raises ValueError."""
    group, equals, given = text.rpartition("=")
    if not equals or not group.strip() or not given.strip():
        raise ValueError('expected "GROUP=…"')
    return group.strip(), given.strip()


def roles_group(text: str) -> tuple[str, str]:
    """The group and its role, in `GROUP=ROLE`. Raises ValueError."""
    group, role = departments_group(text)
    if role not in tuple(Role):
        raise ValueError(f"{role} is no role; there are {', '.join(Role)}")
    return group, role


@dataclass(frozen=True, slots=True)
class OneOf:
    """Reads one of these words. Called with anything else, it raises ValueError."""

    words: tuple[str, ...]

    def __call__(self, text: str) -> str:
        if text not in self.words:
            raise ValueError(f"is not one of {', '.join(self.words)}")
        return text


def one_of(*words: str) -> OneOf:
    return OneOf(words)
