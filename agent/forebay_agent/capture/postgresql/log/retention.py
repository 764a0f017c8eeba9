"""How long the server keeps what was not captured yet: the slot's state, and how fast log is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from forebay_agent.capture.log import Retention
from forebay_agent.capture.postgresql.log import slot
from forebay_agent.capture.postgresql.log.checkpoint import LogCheckpoint, lsn_of, lsn_text
from forebay_agent.capture.postgresql.session import Session

_END: Final = "SELECT pg_current_wal_insert_lsn()::text"
_SHORTEST_SECONDS: Final = 1.0
_NEWEST_WEIGHT: Final = 0.3


class RetentionGauge:
    """Between calls it measures the rate at which log is written; the first call knows none."""

    def __init__(self, session: Session, slot_name: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._slot = slot_name
        self._monotonic = monotonic
        self._last: tuple[float, int] | None = None
        self._bytes_per_second: float | None = None

    def retention(self, checkpoint: str) -> Retention:
        lsn = LogCheckpoint.from_json(checkpoint).lsn
        end = lsn_of(self._session.rows(_END)[0][0])
        self._measure(end)
        behind = max(0, end - lsn)
        there = slot.slot_of(self._session, self._slot)
        if there is None:
            return Retention(
                0.0, behind, f"replication slot {self._slot} is gone: what comes after {lsn_text(lsn)} is lost"
            )
        if there.status == slot.LOST:
            return Retention(0.0, behind, f"replication slot {self._slot} was invalidated: it kept more than it may")
        if there.status == "unreserved":
            return Retention(
                0.0,
                behind,
                f"replication slot {self._slot} keeps more than it may: the server's next checkpoint ends that",
            )
        if there.safe_bytes is None:
            return Retention(None, behind, "the log is kept for as long as needed (max_slot_wal_keep_size is not set)")
        if not self._bytes_per_second:
            return Retention(None, behind, f"{there.safe_bytes} bytes of log may still be written")
        hours = max(0.0, there.safe_bytes / self._bytes_per_second / 3600)
        return Retention(hours, behind, f"{there.safe_bytes} bytes of log may still be written, at the present rate")

    def _measure(self, end: int) -> None:
        now = self._monotonic()
        if self._last is None:
            self._last = (now, end)
            return
        seconds = now - self._last[0]
        if seconds < _SHORTEST_SECONDS:
            return
        rate = max(0, end - self._last[1]) / seconds
        before = self._bytes_per_second
        self._bytes_per_second = rate if before is None else before + _NEWEST_WEIGHT * (rate - before)
        self._last = (now, end)
