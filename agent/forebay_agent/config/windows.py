"""Daily windows: `["22:00-06:00", "12:30-13:00"]`, the appliance's local time, and which of two sets lies in the other.

A set of windows is compared as the minutes of the day that it holds; no window at all stands for the whole day.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Final

from forebay_agent.config.model import DailyWindow

MOST: Final = 24
_WINDOW: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_DAY_MINUTES: Final = 1_440


def window(text: str) -> DailyWindow:
    """`"22:00-06:00"`; over midnight when the end is not later. Raises ValueError."""
    found = _WINDOW.fullmatch(text.strip())
    if found is None:
        raise ValueError('a daily window is "HH:MM-HH:MM": "22:00-06:00"')
    start, end = dt.time(int(found[1]), int(found[2])), dt.time(int(found[3]), int(found[4]))
    if start == end:
        raise ValueError("a daily window ends at another time than it starts; leave it out for the whole day")
    return DailyWindow(start, end)


def inside(inner: Sequence[DailyWindow], outer: Sequence[DailyWindow]) -> bool:
    """Whether all of the one's time is time of the other. None: always."""
    return not outer or (bool(inner) and minutes(inner) <= minutes(outer))


def minutes(windows: Sequence[DailyWindow]) -> frozenset[int]:
    """The minutes of the day that the windows hold."""
    found: set[int] = set()
    for each in windows:
        start, end = (moment.hour * 60 + moment.minute for moment in (each.start, each.end))
        found.update(minute % _DAY_MINUTES for minute in range(start, end if end > start else end + _DAY_MINUTES))
    return frozenset(found)


def is_open(windows: Sequence[DailyWindow], now: dt.time) -> bool:
    return not windows or any(each.is_open(now) for each in windows)
