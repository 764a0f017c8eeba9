"""Days: what a certificate is of. A day begins and ends at midnight of a zone that the settings name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Self

_ZONE = re.compile(r"([+-])(\d\d):(\d\d)")
_US = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def zone_text(text: str) -> str:
    """A zone as `+08:00`, which was checked. Raises ValueError."""
    zone_of(text)
    return text


def zone_of(text: str) -> timezone:
    """Raises ValueError."""
    match = _ZONE.fullmatch(text)
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        raise ValueError('expected a zone such as "+08:00"')
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


@dataclass(frozen=True, slots=True)
class Day:
    """name: YYYY-MM-DD; zone: +08:00. From `from_us` on and before `until_us`, microseconds since 1970 UTC."""

    name: str
    zone: str
    from_us: int
    until_us: int

    @classmethod
    def of(cls, name: str, zone: str) -> Self:
        """Raises ValueError."""
        begins = datetime.combine(date.fromisoformat(name), time(), zone_of(zone))
        ends = begins + timedelta(days=1)
        return cls(begins.date().isoformat(), zone, (begins - _EPOCH) // _US, (ends - _EPOCH) // _US)

    @classmethod
    def at(cls, at_us: int, zone: str) -> Self:
        """The day that holds a moment."""
        return cls.of((_EPOCH + timedelta(microseconds=at_us)).astimezone(zone_of(zone)).date().isoformat(), zone)

    def before(self) -> Self:
        """The day before."""
        return self.of((date.fromisoformat(self.name) - timedelta(days=1)).isoformat(), self.zone)
