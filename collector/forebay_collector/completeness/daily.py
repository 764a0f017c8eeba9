"""Daily: when a day is over, a certificate of it is issued for each department; days that were missed follow."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Final

from forebay_collector.completeness.days import Day
from forebay_collector.completeness.issue import issue
from forebay_collector.completeness.settings import CertificateSettings
from forebay_collector.errors import CollectorError
from forebay_collector.ledger import Ledger
from forebay_wire.canary import is_canary_stream

BY: Final = "collector"
MOST_MISSED: Final = 7
"""days; of those longer ago nobody asks any more"""
_US: Final = timedelta(microseconds=1)
_log = logging.getLogger("forebay.completeness")


class Daily:
    """`step` is called by one thread."""

    def __init__(self, ledger: Ledger, identity: Path, settings: CertificateSettings, cover: timedelta) -> None:
        self._ledger = ledger
        self._identity = identity
        self._settings = settings
        self._cover = cover

    def step(self) -> bool:
        """Issues what is due. Trouble is logged: the next step tries again."""
        if not self._settings.daily:
            return False
        try:
            days = self._over()
            last = self._ledger.completeness.last_days()
            streams = [one.name for one in self._ledger.streams.listing() if not is_canary_stream(one.name)]
            for department in sorted({name.department for name in streams}):
                since = last.get(department, days[-2].name)  # the first is of the last day that is over
                for day in days:
                    if day.name > since:
                        self._issue(department, day)
        except CollectorError as error:
            _log.warning("certificates wait code=%s reason=%s", error.code, error)
        return False

    def _issue(self, department: str, day: Day) -> None:
        number = issue(self._ledger, self._identity, department, day, self._cover, by=BY)
        if number is not None:
            _log.info("certificate issued department=%s day=%s number=%d", department, day.name, number)

    def _over(self) -> list[Day]:
        """The last days that are over, oldest first."""
        now = self._ledger.database.clock() - self._settings.wait // _US
        days = [Day.at(now, self._settings.zone).before()]
        while len(days) < MOST_MISSED:
            days.insert(0, days[0].before())
        return days
