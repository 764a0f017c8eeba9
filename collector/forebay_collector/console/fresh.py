"""Fresh: one thing that takes long to read, read ahead while people look at it.

Whoever asks gets the newest reading at once. It is at most one period old, and the time that a reading takes; a reading that
takes long has a longer period, so that it takes no more than a share of the process. When nobody has asked for a while it is
read as seldom as it may be, so that the next who asks does not wait either.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from forebay_collector.errors import CollectorError
from forebay_collector.memory import give_back

ASKED_WITHIN_S: Final = 30.0
_TOO_OLD: Final = 5
"""periods"""
_RESTING: Final = 3.5
"""periods"""
_SHARE: Final = 0.1
"""of the time, at most, goes into reading ahead, as long as that leaves the reading fresh enough"""
_log = logging.getLogger("forebay.console")
T = TypeVar("T")


class Fresh(Generic[T]):
    """`read` is called by one thread at a time. After `stop` nothing is read ahead any more."""

    def __init__(self, read: Callable[[], T], every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._every_s = every_s
        self._clock = clock
        self._reading = threading.Lock()
        self._changed = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._value: tuple[T, float] | None = None
        self._asked = 0.0

    def get(self) -> T:
        """Raises what `read` raises, when there is no reading that is fresh enough."""
        self._asked = self._clock()
        kept = self._value
        if kept is not None and self._clock() - kept[1] <= self._every_s * _TOO_OLD:
            self._keep_reading()
            return kept[0]
        with self._reading:
            kept = self._value
            if kept is None or self._clock() - kept[1] > self._every_s:
                kept = self._read_now()
        self._keep_reading()
        return kept[0]

    def forget(self) -> None:
        """Something was changed: the next who asks gets a reading from after that."""
        self._value = None

    def stop(self) -> None:
        self._stopped.set()
        thread = self._thread
        if thread is not None and thread.ident is not None:
            thread.join(10)

    def _keep_reading(self) -> None:
        with self._changed:
            if self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="console-ahead", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause_s = self._every_s
        while not self._stopped.wait(pause_s):
            began = self._clock()
            try:
                with self._reading:
                    if began - self._asked > ASKED_WITHIN_S:
                        self._value = None  # nobody looks: two readings at a time would be memory for nothing
                    self._read_now()
                give_back()
            except CollectorError as error:
                _log.warning("the fleet cannot be read code=%s reason=%s", error.code, error)
            except Exception:
                _log.exception("the fleet cannot be read")
            took_s = self._clock() - began
            resting_s = self._every_s * _RESTING
            asked = self._clock() - self._asked <= ASKED_WITHIN_S
            pause_s = min(max(self._every_s, took_s / _SHARE - took_s), resting_s) if asked else resting_s

    def _read_now(self) -> tuple[T, float]:
        began = self._clock()
        kept = (self._read(), began)
        self._value = kept
        return kept
