"""Sender: sends one channel's messages, in order, again and again until the other end has them, but not for ever.

    attempt   1     2     3     4     5      6      7      8 …
    after           10 s  20 s  40 s  80 s   160 s  320 s  600 s

What was sent and could not be noted, because the ledger did not answer, is noted before anything else is sent: it goes out
twice only when the process dies in between.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from forebay_collector.alerts.channels import Channel, open_channel
from forebay_collector.alerts.message import Wording
from forebay_collector.alerts.settings import AlertSettings
from forebay_collector.errors import CollectorError, ConfigurationError, NotSent
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.alerts import AlertRecord
from forebay_collector.ledger.notifications import FAILED, SENT, WAITING, NotificationRecord

ATTEMPTS: Final = 12
FIRST_PAUSE: Final = timedelta(seconds=10)
LONGEST_PAUSE: Final = timedelta(minutes=10)
_US: Final = timedelta(microseconds=1)
_log = logging.getLogger("forebay.alerts")


@dataclass(frozen=True, slots=True)
class _Ended:
    note: NotificationRecord
    state: str
    outcome: str
    due_at: int


class Sender:
    """One channel's. works: whether this process is the one that notifies."""

    def __init__(
        self, ledger: Ledger, name: str, settings: AlertSettings, folder: Path, works: Callable[[], bool]
    ) -> None:
        self._ledger = ledger
        self.name = name
        self._settings = settings
        self._folder = folder
        self._works = works
        self._channel: Channel | None = None
        self._unnoted: _Ended | None = None

    def step(self) -> bool:
        """Sends one message if one is due; never again at once: a robot takes 20 a minute. Trouble of the ledger is logged."""
        try:
            if self._unnoted is not None:
                self._note(self._unnoted)
            if self._works() and (taken := self._ledger.notifications.take(self.name)) is not None:
                self._note(self._attempt(*taken))
        except CollectorError as error:
            _log.warning("notification waits for the ledger channel=%s code=%s", self.name, error.code)
        return False

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _attempt(self, note: NotificationRecord, alerts: list[AlertRecord]) -> _Ended:
        language = self._settings.channels[self.name].language
        try:
            if self._channel is None:
                self._channel = open_channel(self.name, self._settings, self._folder)
            outcome = self._channel.send(Wording(note, alerts, language, self._settings.console))
        except (NotSent, ConfigurationError) as error:
            # a file that was corrected is read anew
            self.close()
            return self._failed(note, str(error))
        except Exception as error:
            self.close()
            _log.exception("notification broke channel=%s", self.name)
            return self._failed(note, type(error).__name__)
        _log.info("notification sent channel=%s id=%d what=%s kind=%s", self.name, note.id, note.what, note.kind)
        return _Ended(note, SENT, outcome, 0)

    def _failed(self, note: NotificationRecord, reason: str) -> _Ended:
        given_up = note.attempts >= ATTEMPTS
        _log.log(
            logging.ERROR if given_up else logging.WARNING,
            "notification not sent channel=%s id=%d attempts=%d given_up=%s reason=%s",
            self.name,
            note.id,
            note.attempts,
            given_up,
            reason,
        )
        if given_up:
            return _Ended(note, FAILED, reason, 0)
        pause = min(FIRST_PAUSE * 2 ** (note.attempts - 1), LONGEST_PAUSE)
        return _Ended(note, WAITING, reason, self._ledger.database.clock() + pause // _US)

    def _note(self, ended: _Ended) -> None:
        self._unnoted = ended
        self._ledger.notifications.end(ended.note.id, ended.state, ended.outcome, due_at=ended.due_at)
        self._unnoted = None
