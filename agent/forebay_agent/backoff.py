"""Pauses between tries: each up to twice as long as the one before, with jitter, so that agents do not return in step."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """first, most: seconds. A pause is drawn between half and all of the step it stands at."""

    first: float
    most: float
    draw: random.Random = field(default_factory=random.SystemRandom)
    failures: int = 0

    def next(self) -> float:
        """Seconds until the next try, after one more failure."""
        step = min(self.most, self.first * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return step * self.draw.uniform(0.5, 1.0)

    def succeeded(self) -> None:
        self.failures = 0
