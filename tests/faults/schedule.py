"""Which fault strikes where, in which order and for how long: a pure function of the seed.

Two lanes strike at the same time, each its own places, so that faults meet each other and never twice the same place. Each
lane deals decks: every kind that can strike one of its places once, in a drawn order, at a drawn place. How far a lane
comes depends on the machine; what it plays does not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

LANES: Final = (("mariadb", "sqlite"), ("postgresql", "collector"))


@dataclass(frozen=True, slots=True)
class Strike:
    """pause_s: before it. hold_s: between injection and healing. seed: of what the fault itself draws."""

    lane: int
    name: str
    place: str
    pause_s: float
    hold_s: float
    seed: int


def strikes(seed: int, lane: int, kinds: Mapping[str, Sequence[str]]) -> Iterator[Strike]:
    """Without end. kinds: name -> the places that it can strike."""
    draw = random.Random(f"{seed}/{lane}")
    while True:
        deck = [
            (name, places) for name, on in kinds.items() if (places := [each for each in LANES[lane] if each in on])
        ]
        draw.shuffle(deck)
        for name, places in deck:
            pause, hold = draw.uniform(0.5, 2.5), draw.choice((0.5, 1.5, 3.0, 5.0))
            yield Strike(lane, name, draw.choice(places), pause, hold, draw.randrange(10**9))
