"""Retention: loaded batches leave the archive when their time is over. The ledger keeps their records for ever."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from forebay_collector.archive.contract import Archive
from forebay_collector.errors import CollectorError
from forebay_collector.ledger import Ledger

AT_ONCE: Final = 500
_log = logging.getLogger(__name__)


class Retention:
    def __init__(
        self, archive: Archive, ledger: Ledger, kept: timedelta, count: Callable[[int], None] = lambda _: None
    ) -> None:
        """count: hears how many bytes each step removed."""
        self._count = count
        self._archive = archive
        self._ledger = ledger
        self._kept = kept

    def step(self) -> bool:
        """Removes some of what is over; whether there may be more. Trouble is logged: the next step tries again.

        A batch is removed before the ledger says so: a crash between the two removes it once more.
        """
        before = self._ledger.database.clock() - self._kept // timedelta(microseconds=1)
        try:
            over = self._ledger.batches.expirable(before, AT_ONCE)
            for batch in over:
                self._archive.delete(batch.stream, batch.epoch, batch.seq)
            self._ledger.batches.mark_expired(over)
        except CollectorError as error:
            _log.warning("retention waits code=%s reason=%s", error.code, error)
            return False
        if over:
            size = sum(batch.bytes for batch in over)
            self._count(size)
            _log.info("retention removed batches=%d bytes=%d", len(over), size)
        return len(over) == AT_ONCE
