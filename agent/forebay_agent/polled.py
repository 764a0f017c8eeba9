"""How far polls of a table came, for whoever waits until everything that is committed now is captured.

A poll does not wait for transactions that are open at the source: whoever does, waits elsewhere than on the source's thread,
whose other tables go on meanwhile, and has the table polled again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay_wire.stream import StreamName

SETTLINGS = 2
"""see `capture/settled.py`: Through now"""


@dataclass(frozen=True, slots=True)
class Polled:
    """ended: nothing committed was left, or the table stands still, and the board says why. settlings: of its capture."""

    ended: bool
    settlings: int = 0


@dataclass(slots=True)
class Awaited:
    """Tables that are polled again and again until what was committed at the first of their polls is captured."""

    _first: dict[StreamName, int] = field(default_factory=dict)

    def left(self, told: Mapping[StreamName, Polled]) -> list[StreamName]:
        """Those of which something may be left."""
        left = []
        for name, polled in told.items():
            # less than before: the table was opened anew
            first = self._first[name] = min(self._first.get(name, polled.settlings), polled.settlings)
            if not polled.ended and polled.settlings < first + SETTLINGS:
                left.append(name)
        return left
