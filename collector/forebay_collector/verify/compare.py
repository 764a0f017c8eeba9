"""The comparison: which keys differ between a source that goes on changing and a platform that follows it.

A *look* notes the mark of what was received, reads the source, waits until everything committed by then is loaded, and
reads the platform. First a look at digests per cell; where they are equal, nothing differs. For the cells that differ, a
look at every key. Of a key that differs in a look

    a batch after the mark tells            in flight: the platform may show it as it was before or after it was read
    no batch after the mark tells           a **difference**, for both sides were read as of the mark

Proof of the second. The platform held at the mark what the batches up to it say; as none tells of the key after it, the
platform should hold that still. A change that was committed before the source was read is in a batch up to the mark, or
in one that the look waited for; the latter would have told of the key. So what the source showed is what the batches up
to the mark say, too.

Keys in flight are looked up again, by key, up to `LOOKS` looks in all; what every look found in flight is counted, not
reported. Of rows that are different the columns are told that differ. Every difference is counted, the first are named.
Memory is bounded: cells are taken in groups of at most `GROUP_ROWS` rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from forebay_collector.verify.sides import KeyRows, Side
from forebay_wire.canonical import TableDigest

LOOKS: Final = 5
GROUP_ROWS: Final = 500_000
LOOKED_UP: Final = 50_000
"""suspects that are looked up by key; of more, their cells are read again"""
_NOTHING: Final = (0, 0)

Pair = tuple[tuple[int, int], tuple[int, int]]
"""What source and platform hold of one key."""

Mark = tuple[int, int]
"""(epoch, seq): everything of the stream up to there was received."""


class Flow(Protocol):
    """What goes on between the two sides."""

    def mark(self) -> Mark:
        """What was received by now."""

    def settle(self) -> None:
        """Returns once everything that was committed at the source before the call is loaded and shown."""

    def told(self, after: Mark, keys: Collection[bytes]) -> Collection[bytes]:
        """Those of the keys that a batch after the mark tells of; all of them where a snapshot ended after it, for that
        may have removed any key without naming it."""


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
    flow: Flow,
    *,
    cells: int,
    most_keys: int = 1_000,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Compares both sides. `platform` gives its side, once the source has been read.

    most_keys: that are named. `say` is told how far it is. Raises what the sides and `flow` raise.
    """
    say("reading the source")
    began = time.monotonic()
    left = source.digest(cells)
    source_seconds = time.monotonic() - began
    say("waiting for the platform to load what was read")
    flow.settle()
    say("reading the platform")
    began = time.monotonic()
    mirror = platform()
    right = mirror.digest(cells)
    differing = left.differing(right)
    found = Comparison(SideTotals(left.count, left.digest), SideTotals(right.count, right.digest), len(differing))
    found.source_seconds, found.platform_seconds = source_seconds, time.monotonic() - began
    looks = _Looks(source, mirror, flow, cells)
    done = 0
    for group in _groups(differing, left, right):
        say(f"comparing keys: {done} of {len(differing)} that differ")
        done += len(group)
        found.in_flight += _narrow(looks, group, lambda differ: _sort_in(found, differ, most_keys))
    for keys in (found.missing, found.extra, found.different):
        keys.named.sort()
    if found.different.named:
        say("comparing columns")
        found.columns = looks.columns(found.different.named)
    return found


def still_differing(source: Side, platform: Side, flow: Flow, keys: Collection[bytes]) -> int:
    """How many of these keys differ; rows in flight are not among them."""
    looks = _Looks(source, platform, flow, 0)
    differing, left = 0, keys
    for _ in range(LOOKS):
        if not left:
            break
        seen = looks.at_keys(left)
        differing, left = differing + len(seen.differ), seen.in_flight
    return differing


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look found: keys that differ, and keys of which it cannot tell."""

    differ: dict[bytes, Pair]
    in_flight: Collection[bytes]


@dataclass(frozen=True, slots=True)
class _Looks:
    source: Side
    platform: Side
    flow: Flow
    cells: int

    def at_cells(self, cells: Sequence[int]) -> _Look:
        """At all keys of the cells."""
        mark = self.flow.mark()
        left = self.source.keys(self.cells, cells)
        self.flow.settle()
        return self._judged(mark, _unequal(left, self.platform.keys(self.cells, cells)))

    def at_keys(self, keys: Collection[bytes]) -> _Look:
        mark = self.flow.mark()
        left = self.source.look_up(keys)
        self.flow.settle()
        return self._judged(mark, _unequal(left, self.platform.look_up(keys)))

    def columns(self, keys: Collection[bytes]) -> dict[bytes, tuple[str, ...]]:
        """Of these keys, which columns differ; not of those that are equal meanwhile, gone, or in flight at every look."""
        found: dict[bytes, tuple[str, ...]] = {}
        for _ in range(LOOKS):
            if not keys:
                break
            mark = self.flow.mark()
            left = self.source.columns(keys)
            self.flow.settle()
            right = self.platform.columns(keys)
            in_flight = self.flow.told(mark, keys)
            for key in (left.keys() & right.keys()).difference(in_flight):
                found[key] = tuple(name for name, digest in left[key].items() if right[key].get(name) != digest)
            keys = in_flight
        return {key: columns for key, columns in found.items() if columns}

    def _judged(self, mark: Mark, unequal: dict[bytes, Pair]) -> _Look:
        told = tuple(self.flow.told(mark, unequal.keys())) if unequal else ()
        for key in told:
            del unequal[key]
        return _Look(unequal, told)


def _unequal(left: KeyRows, right: KeyRows) -> dict[bytes, Pair]:
    return {
        key: (left.get(key, _NOTHING), right.get(key, _NOTHING))
        for key in left.keys() | right.keys()
        if left.get(key) != right.get(key)
    }


def _narrow(looks: _Looks, cells: Sequence[int], differ: Callable[[dict[bytes, Pair]], None]) -> int:
    """Tells `differ` of the cells' keys that differ; -> how many were in flight at every look."""
    look = looks.at_cells(cells)
    differ(look.differ)
    left = set(look.in_flight)
    for _ in range(LOOKS - 1):
        if not left:
            break
        look = looks.at_keys(left) if len(left) <= LOOKED_UP else looks.at_cells(cells)
        differ({key: pair for key, pair in look.differ.items() if key in left})
        left &= set(look.in_flight)
    return len(left)


def _sort_in(found: Comparison, differ: dict[bytes, Pair], most_keys: int) -> None:
    room = most_keys - len(found.named)
    for key, (left, right) in differ.items():
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
