"""Watch: opens an alert when something was the matter for long enough, and closes it when it is well again for long enough.

    not so -> so, for less than it must hold -> open -> not so, for less than `clear` -> closed
       ^               |                          ^               |
       └───────────────┘                          └───────────────┘

So nothing that comes and goes makes more than one alert. What was about to open or to close is kept in memory: a restart
begins to count anew. Severity grows while an alert is open and never shrinks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from forebay_collector.alerts.conditions import TOLD_BY_AGENTS, Finding, Found
from forebay_collector.alerts.kinds import Severity
from forebay_collector.ledger import Ledger, alerts
from forebay_collector.ledger.alerts import AlertRecord, Condition

SEEN_AGAIN_US: Final = 60_000_000
_US: Final = timedelta(microseconds=1)
_log = logging.getLogger("forebay.alerts")
Key = tuple[str, str]


class Watch:
    """clear: how long something must be well again before its alert is over. Not for several threads."""

    def __init__(self, ledger: Ledger, clear: timedelta) -> None:
        self._ledger = ledger
        self._clear_us = clear // _US
        self._coming: dict[Key, int] = {}
        self._going: dict[Key, int] = {}

    def look(self, found: Found, at: int) -> None:
        """Takes in what is so at this moment. Writes only what changed. Raises the ledger's errors."""
        with self._ledger.database.read() as connection:
            records = {record.key: record for record in alerts.open_now(connection)}
        opening = self._opening(found.findings, records, at)
        seen = self._seen(found.findings, records, at)
        closing = self._closing(found, records, at)
        if not (opening or seen or closing):
            return
        with self._ledger.database.write() as connection:
            alerts.put(connection, opening, at)
            alerts.seen(connection, seen, at)
            alerts.close(connection, [record.id for record in closing], at)
        for one in opening:
            self._coming.pop(one.key, None)
            _log.warning("alert opened kind=%s subject=%s severity=%s", one.kind, one.subject, one.severity)
        for record in closing:
            self._going.pop(record.key, None)
            _log.info("alert over kind=%s subject=%s", record.kind, record.subject)

    def _opening(self, findings: Mapping[Key, Finding], records: Mapping[Key, AlertRecord], at: int) -> list[Condition]:
        self._coming = {key: since for key, since in self._coming.items() if key in findings and key not in records}
        opening = []
        for key, finding in findings.items():
            if key in records:
                continue
            since = self._coming.setdefault(key, at)
            if at - since >= finding.holds // _US:
                opening.append(finding.condition)
        return opening

    def _seen(
        self, findings: Mapping[Key, Finding], records: Mapping[Key, AlertRecord], at: int
    ) -> list[tuple[int, Condition]]:
        """Those that became worse, and those that were not noted for a minute."""
        noted = []
        for key, record in records.items():
            if key not in findings:
                continue
            self._going.pop(key, None)
            now = findings[key].condition
            worse = now.severity == Severity.CRITICAL and record.severity != Severity.CRITICAL
            if worse or at - record.last_seen_at >= SEEN_AGAIN_US:
                noted.append((record.id, replace(now, severity=now.severity if worse else record.severity)))
        return noted

    def _closing(self, found: Found, records: Mapping[Key, AlertRecord], at: int) -> list[AlertRecord]:
        closing = []
        for key, record in records.items():
            if key in found.findings:
                continue
            if record.kind in TOLD_BY_AGENTS and record.agent in found.unknown:
                self._going.pop(key, None)
            elif at - self._going.setdefault(key, at) >= self._clear_us:
                closing.append(record)
        self._going = {key: since for key, since in self._going.items() if key in records}
        return closing
