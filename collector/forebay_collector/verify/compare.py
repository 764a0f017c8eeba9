"""The comparison: which keys differ between a source that goes on changing and a platform that follows it.

A *look* reads the source, waits until everything committed by then is loaded, and reads the platform. So in a look the
platform may only be **ahead** of the source. First a look at digests per cell; where they are equal, nothing differs.
For the cells that differ, a look at every key: a key that differs is a *suspect*. Suspects are looked up again, by key:

    source and platform equal now             settled: the row was in flight
    the same two values in `CONFIRM` looks    **confirmed**: a platform that follows would hold the source's value after
    one after the other, still different      the first of them, or a newer one that the next look's source would show
    anything else                             still a suspect

(A row that flips to and fro between the same two values could fool one such pair of looks; hence more than two.) What is
still a suspect after the last look changed during nearly every one; it is counted as in flight, not reported. Of rows that
are confirmed to be different the columns are told that differ. Every difference is counted, the first ones are named.
Memory is bounded: cells are taken in groups of at most `GROUP_ROWS` rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from forebay_collector.verify.sides import KeyRows, Side
from forebay_wire.canonical import TableDigest

RECHECKS: Final = 3
CONFIRM: Final = 3
GROUP_ROWS: Final = 500_000
LOOKED_UP: Final = 50_000
"""suspects that are looked up by key; of more, their cells are read again"""
_NOTHING: Final = (0, 0)

Pair = tuple[tuple[int, int], tuple[int, int]]
"""What source and platform hold of one key."""


@dataclass(frozen=True, slots=True)
class SideTotals:
    rows: int
    digest: bytes


@dataclass(slots=True)
class Keys:
    """Keys that differ in one way: all are counted, the first ones named (canonical bytes, sorted)."""

    count: int = 0
    named: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Comparison:
    """The result.

    in_flight: keys that changed during every look, so that nothing can be said of them.
    source_seconds, platform_seconds: that the first look took at each side.
    columns: of named keys that are different, which columns differ.
    """

    source: SideTotals
    platform: SideTotals
    cells: int = 0  # that differed in the first look
    missing: Keys = field(default_factory=Keys)  # in the source, not in the platform
    extra: Keys = field(default_factory=Keys)  # in the platform, not in the source
    different: Keys = field(default_factory=Keys)
    columns: dict[bytes, tuple[str, ...]] = field(default_factory=dict)
    in_flight: int = 0
    source_seconds: float = 0.0
    platform_seconds: float = 0.0

    @property
    def equal(self) -> bool:
        return not self.differing

    @property
    def differing(self) -> int:
        return self.missing.count + self.extra.count + self.different.count

    @property
    def named(self) -> list[bytes]:
        return [*self.missing.named, *self.extra.named, *self.different.named]

    @property
    def complete(self) -> bool:
        """Whether every key that differs is named."""
        return len(self.named) == self.differing


def compare(
    source: Side,
    platform: Callable[[], Side],
    settle: Callable[[], None],
    *,
    cells: int,
    most_keys: int = 1_000,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Compares both sides. `settle` returns once everything committed at the source before the call is loaded. `platform`
    gives its side, once the source has been read.

    most_keys: that are named. `say` is told how far it is. Raises what the sides and `settle` raise.
    """
    say("reading the source")
    began = time.monotonic()
    left = source.digest(cells)
    source_seconds = time.monotonic() - began
    say("waiting for the platform to load what was read")
    settle()
    say("reading the platform")
    began = time.monotonic()
    mirror = platform()
    right = mirror.digest(cells)
    differing = left.differing(right)
    found = Comparison(SideTotals(left.count, left.digest), SideTotals(right.count, right.digest), len(differing))
    found.source_seconds, found.platform_seconds = source_seconds, time.monotonic() - began
    looks = _Looks(source, mirror, settle, cells)
    done = 0
    for group in _groups(differing, left, right):
        say(f"comparing keys: {done} of {len(differing)} that differ")
        done += len(group)
        confirmed, in_flight = _narrow(looks, group)
        _sort_in(found, confirmed, most_keys)
        found.in_flight += in_flight
    for keys in (found.missing, found.extra, found.different):
        keys.named.sort()
    if found.different.named:
        say("comparing columns")
        found.columns = looks.columns(found.different.named)
    return found


def still_differing(source: Side, platform: Side, settle: Callable[[], None], keys: Collection[bytes]) -> int:
    """How many of these keys differ in each of several looks: rows in flight are not among them."""
    looks = _Looks(source, platform, settle, 0)
    left = set(keys)
    for _ in range(CONFIRM):
        if left:
            left &= looks.at_keys(left).keys()
    return len(left)


@dataclass(frozen=True, slots=True)
class _Looks:
    source: Side
    platform: Side
    settle: Callable[[], None]
    cells: int

    def at_cells(self, cells: Sequence[int]) -> dict[bytes, Pair]:
        """The keys of the cells that differ now."""
        left = self.source.keys(self.cells, cells)
        self.settle()
        return _unequal(left, self.platform.keys(self.cells, cells))

    def at_keys(self, keys: Collection[bytes]) -> dict[bytes, Pair]:
        """Those of the keys that differ now."""
        left = self.source.look_up(keys)
        self.settle()
        return _unequal(left, self.platform.look_up(keys))

    def columns(self, keys: Collection[bytes]) -> dict[bytes, tuple[str, ...]]:
        """Which columns of these keys differ now."""
        left = self.source.columns(keys)
        self.settle()
        right = self.platform.columns(keys)
        return {
            key: tuple(name for name, digest in left[key].items() if right[key].get(name) != digest)
            for key in keys
            if key in left and key in right
        }


def _unequal(left: KeyRows, right: KeyRows) -> dict[bytes, Pair]:
    return {
        key: (left.get(key, _NOTHING), right.get(key, _NOTHING))
        for key in left.keys() | right.keys()
        if left.get(key) != right.get(key)
    }


def _narrow(looks: _Looks, cells: Sequence[int]) -> tuple[dict[bytes, Pair], int]:
    """-> confirmed keys, and how many were still in flight after the last look."""
    suspects = {key: (pair, 1) for key, pair in looks.at_cells(cells).items()}
    confirmed: dict[bytes, Pair] = {}
    for _ in range(RECHECKS):
        if not suspects:
            break
        now = looks.at_keys(suspects.keys()) if len(suspects) <= LOOKED_UP else looks.at_cells(cells)
        suspects = {
            key: (now[key], times + 1 if now[key] == pair else 1)
            for key, (pair, times) in suspects.items()
            if key in now
        }
        confirmed |= {key: pair for key, (pair, times) in suspects.items() if times == CONFIRM}
        suspects = {key: seen for key, seen in suspects.items() if key not in confirmed}
    return confirmed, len(suspects)


def _sort_in(found: Comparison, confirmed: dict[bytes, Pair], most_keys: int) -> None:
    room = most_keys - len(found.named)
    for key, (left, right) in confirmed.items():
        keys = found.missing if right == _NOTHING else found.extra if left == _NOTHING else found.different
        keys.count += 1
        if room > 0:
            keys.named.append(key)
            room -= 1


def _groups(cells: Sequence[int], left: TableDigest, right: TableDigest) -> Iterator[list[int]]:
    group: list[int] = []
    rows = 0
    for cell in cells:
        more = max(left.rows[cell], right.rows[cell])
        if group and rows + more > GROUP_ROWS:
            yield group
            group, rows = [], 0
        group.append(cell)
        rows += more
    if group:
        yield group
