"""Retention: of the audit, whose entries leave oldest first while the chain's anchor stays; and, for as long, of alerts."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from forebay_collector.errors import CollectorError
from forebay_collector.ledger.ledger import Ledger

SLACK: Final = timedelta(days=1)
"""Entries go once in so long: every removal is an entry itself."""
_log = logging.getLogger(__name__)


class AuditRetention:
    def __init__(self, ledger: Ledger, kept: timedelta) -> None:
        self._ledger = ledger
        self._kept = kept

    def step(self) -> bool:
        """Removes what is over. Trouble is logged: the next step tries again."""
        tick = timedelta(microseconds=1)
        now = self._ledger.database.clock()
        try:
            oldest = self._ledger.audit.oldest()
            if oldest is None or oldest >= now - (self._kept + SLACK) // tick:
                return False
            removed = self._ledger.audit.expire(now - self._kept // tick)
        except CollectorError as error:
            _log.warning("retention of the audit waits code=%s reason=%s", error.code, error)
            return False
        _log.info("retention of the audit removed entries=%d", removed)
        return False


class AlertRetention:
    """Alerts that are over, their notifications and maintenance windows stay for as long as the audit's entries."""

    def __init__(self, ledger: Ledger, kept: timedelta) -> None:
        self._ledger = ledger
        self._kept = kept

    def step(self) -> bool:
        """Removes what is over. Trouble is logged: the next step tries again."""
        before = self._ledger.database.clock() - self._kept // timedelta(microseconds=1)
        try:
            self._ledger.notifications.expire(before)
            removed = self._ledger.alerts.expire(before)
            self._ledger.maintenance.expire(before)
        except CollectorError as error:
            _log.warning("retention of alerts waits code=%s reason=%s", error.code, error)
            return False
        if removed:
            _log.info("retention of alerts removed alerts=%d", removed)
        return False
