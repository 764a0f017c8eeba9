"""Hours: the daily windows in which batches may be sent. Health and commands go at any time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from forebay_agent.config import windows
from forebay_agent.config.model import DailyWindow
from forebay_agent.pauses import local_time


class Hours:
    """No window: always. Any thread may call."""

    def __init__(self, daily: Sequence[DailyWindow], now: Callable[[], dt.time] = local_time) -> None:
        self._daily = tuple(daily)
        self._now = now

    def tune(self, daily: Sequence[DailyWindow]) -> None:
        self._daily = tuple(daily)

    @property
    def are_open(self) -> bool:
        daily = self._daily
        return not daily or windows.is_open(daily, self._now())

    @property
    def waits(self) -> str:
        """What sending waits for, in words; empty when for nothing."""
        return "" if self.are_open else f"sending waits for its daily time ({', '.join(map(str, self._daily))})"
