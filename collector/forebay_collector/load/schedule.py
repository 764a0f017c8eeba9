"""Whose turn it is: which stream a loader thread takes next, one thread per stream, the longest waiting first.

Pure decisions over what the ledger says; the clock is given in. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from forebay_wire.stream import StreamName

UPKEEP_S: Final = 15.0
IDLE_UPKEEP_S: Final = 600.0


@dataclass(slots=True)
class _Turn:
    """What is known of one stream. Times are seconds of the clock."""

    served: float = -1.0  # when it last had its turn
    not_before: float = 0.0
    upkept: float = 0.0
    loaded: bool = False  # since its last upkeep
    busy: bool = False


class Schedule:
    """`clock` counts seconds, never backwards."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._turns: dict[StreamName, _Turn] = {}

    def take(self, waiting: Iterable[StreamName]) -> StreamName | None:
        """The one of these streams that waited longest and is not busy or pausing, the first of equals; it is busy from now
        on."""
        now = self._clock()
        chosen: tuple[float, StreamName, _Turn] | None = None
        with self._lock:
            for name in waiting:
                turn = self._turn(name)
                if not turn.busy and turn.not_before <= now and (chosen is None or turn.served < chosen[0]):
                    chosen = turn.served, name, turn
            if chosen is None:
                return None
            chosen[2].busy = True
            return chosen[1]

    def take_for_upkeep(self, idle: bool) -> StreamName | None:
        """A stream whose upkeep is due: soon after loads; when all is `idle` the others too, now and then."""
        now = self._clock()
        with self._lock:
            for name, turn in self._turns.items():
                due = UPKEEP_S if turn.loaded else IDLE_UPKEEP_S if idle else None
                if not turn.busy and due is not None and now - turn.upkept >= due:
                    turn.busy = True
                    return name
        return None

    def done(self, name: StreamName, *, loaded: bool, pause_s: float = 0.0) -> None:
        """The turn is over."""
        now = self._clock()
        with self._lock:
            turn = self._turn(name)
            turn.busy, turn.served, turn.not_before = False, now, now + pause_s
            turn.loaded = turn.loaded or loaded

    def upkept(self, name: StreamName, *, again: bool) -> None:
        """The upkeep is over; `again`: it did something, and there may be more."""
        with self._lock:
            turn = self._turn(name)
            turn.busy, turn.loaded, turn.upkept = False, again, self._clock()

    def know(self, names: Iterable[StreamName]) -> None:
        """Streams that get upkeep even when nothing is loaded."""
        with self._lock:
            for name in names:
                self._turn(name)

    def _turn(self, name: StreamName) -> _Turn:
        turn = self._turns.get(name)
        if turn is None:
            turn = self._turns[name] = _Turn(upkept=self._clock())
        return turn
