"""Retention of the audit: entries leave when their time is over, oldest first, and the chain's anchor stays."""

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
