"""Refusals in the audit, without letting whoever is refused fill it.

The first refusal of its kind is an entry at once. What is the same (who, what, from where) within the next minute is
counted, and is one more entry with that `count` when the minute is over; while it goes on the minutes become ten.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from forebay_collector.errors import CollectorError
from forebay_collector.ledger import audit
from forebay_collector.ledger.database import Database

WINDOW_US: Final = 60_000_000
LONGEST_WINDOW_US: Final = 10 * WINDOW_US
MOST_KINDS: Final = 10_000
"""Kinds that are told apart within a minute; beyond them, refusals are counted by their action."""
_MANY: Final = "many"
_log = logging.getLogger(__name__)

_Kind = tuple[str, str, str, str, str]


@dataclass(slots=True)
class _Seen:
    """The window of one kind: since when, for how long, and how many came since the last entry."""

    since: int
    lasts: int
    more: int
    why: str
    detail: Mapping[str, Any]


class Refusals:
    """Safe to use from any thread. Never raises: a refusal stands whether or not it could be recorded."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._seen: dict[_Kind, _Seen] = {}

    def note(
        self,
        who: str,
        action: str,
        subject: str,
        why: str,
        detail: Mapping[str, Any] | None = None,
        *,
        peer: str = "",
        same: str = "",
    ) -> None:
        """Refusals that agree in who, action, subject, peer and `same` are of one kind.

        detail: as in the audit. peer: the other end's address, without its port.
        """
        noted = dict(detail or {}) | ({"peer": peer} if peer else {})
        kind = (who, action, subject, peer, same)
        now = self._database.clock()
        with self._lock:
            if kind not in self._seen and len(self._seen) >= MOST_KINDS:
                kind, noted = (_MANY, action, _MANY, "", ""), {}
            seen = self._seen.get(kind)
            if seen is not None:
                seen.more += 1
                seen.why, seen.detail = why, noted
                return
            self._seen[kind] = _Seen(now, WINDOW_US, 0, why, noted)
        self._record(now, kind, why, noted)

    def settle(self, *, everything: bool = False) -> None:
        """Records the counts of minutes that are over; of all of them when the collector stops."""
        now = self._database.clock()
        due: list[tuple[_Kind, str, dict[str, Any]]] = []
        with self._lock:
            for kind, seen in list(self._seen.items()):
                if not everything and now - seen.since < seen.lasts:
                    continue
                if not seen.more:
                    del self._seen[kind]
                    continue
                due.append((kind, seen.why, {**seen.detail, "count": seen.more, "since": seen.since}))
                seen.since, seen.more = now, 0
                seen.lasts = min(2 * seen.lasts, LONGEST_WINDOW_US)
        for kind, why, detail in due:
            self._record(now, kind, why, detail)

    def _record(self, at: int, kind: _Kind, why: str, detail: Mapping[str, Any]) -> None:
        who, action, subject, *_ = kind
        try:
            with self._database.write() as connection:
                audit.record(connection, at, who, action, subject, why, detail)
        except CollectorError as error:
            _log.error("a refusal is not in the audit who=%s action=%s code=%s", who, action, error.code)
