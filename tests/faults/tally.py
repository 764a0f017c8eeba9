"""How often each kind of fault struck, and where: the table at the end of a run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator


class Tally:
    """kinds: all that might strike, so that one which never did is seen."""

    def __init__(self, kinds: Collection[str]) -> None:
        self._lock = threading.Lock()
        self._kinds = sorted(kinds)
        self._at: dict[str, Counter[str]] = {name: Counter() for name in self._kinds}
        self._unproven: Counter[str] = Counter()

    def note(self, kind: str, place: str, proof: str) -> None:
        """proof: what the strike met; without one it counts nowhere."""
        with self._lock:
            if proof:
                self._at[kind][place] += 1
            else:
                self._unproven[kind] += 1

    def add(self, other: Tally) -> None:
        """What another run tells."""
        self._kinds = sorted({*self._kinds, *other._kinds})
        for kind in other._kinds:
            self._at.setdefault(kind, Counter()).update(other._at[kind])
        self._unproven.update(other._unproven)

    @property
    def struck(self) -> int:
        return sum(at.total() for at in self._at.values())

    def below(self, least: int) -> list[str]:
        """The kinds that struck fewer than `least` times."""
        return [kind for kind in self._kinds if self._at[kind].total() < least]

    def lines(self) -> Iterator[str]:
        yield f"{'kind':<32}{'struck':>7}{'met nothing':>13}  where"
        for kind in self._kinds:
            at = self._at[kind]
            where = ", ".join(f"{place} {count}" for place, count in sorted(at.items()))
            yield f"{kind:<32}{at.total():>7}{self._unproven[kind]:>13}  {where}".rstrip()
