"""The comparison: which keys differ between a source that goes on changing and a platform that follows it.

A *look* reads the source, waits until everything committed by then is loaded, and reads the platform. So in a look the
platform may only be **ahead** of the source. First a look at digests per bucket; where they are equal, nothing differs.
For the buckets that differ, looks at every key: a key that differs is a *suspect*. Suspects are looked at again:

    source and platform equal now             settled: the row was in flight
    the same two values in `CONFIRM` looks    **confirmed**: a platform that follows would hold the source's value after
    one after the other, still different      the first of them, or a newer one that the next look's source would show
    anything else                             still a suspect

(A row that flips to and fro between the same two values could fool one such pair of looks; hence more than two.) What is
still a suspect after the last look changed during nearly every one; it is counted as in flight, not reported.
Memory is bounded: buckets are taken in groups of at most `GROUP_ROWS` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from forebay_collector.verify.sides import KeyRows, Side
from forebay_wire.canonical import TableDigest

RECHECKS: Final = 3
CONFIRM: Final = 3
GROUP_ROWS: Final = 250_000
_NOTHING: Final = (0, 0)

Pair = tuple[tuple[int, int], tuple[int, int]]
"""What source and platform hold of one key."""


@dataclass(frozen=True, slots=True)
class SideTotals:
    rows: int
    digest: bytes


@dataclass(slots=True)
class Comparison:
    """The result. Keys are canonical key texts (see `forebay_wire.canonical`), sorted.

    in_flight: keys that changed during every look, so that nothing can be said of them.
    complete: False when the listing stopped at the most keys asked for.
    """

    source: SideTotals
    platform: SideTotals
    buckets: int = 0  # that differed in the first look
    missing: list[str] = field(default_factory=list)  # in the source, not in the platform
    extra: list[str] = field(default_factory=list)  # in the platform, not in the source
    different: list[str] = field(default_factory=list)
    in_flight: int = 0
    complete: bool = True

    @property
    def equal(self) -> bool:
        return not (self.missing or self.extra or self.different)

    @property
    def differing(self) -> int:
        return len(self.missing) + len(self.extra) + len(self.different)


def compare(
    source: Side,
    platform: Side,
    settle: Callable[[], None],
    *,
    most_keys: int = 1_000,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Compares both sides. `settle` returns once everything committed at the source before the call is loaded.

    `say` is told how far it is. Raises what the sides and `settle` raise.
    """
    say("reading the source")
    left = source.digest()
    say("waiting for the platform to load what was read")
    settle()
    say("reading the platform")
    right = platform.digest()
    buckets = left.differing(right)
    found = Comparison(SideTotals(left.count, left.digest), SideTotals(right.count, right.digest), len(buckets))
    done = 0
    for group in _groups(buckets, left, right):
        say(f"comparing keys: bucket {done} of {len(buckets)} that differ")
        done += len(group)
        confirmed, in_flight = _narrow(lambda group=group: _look(source, platform, settle, group))  # type: ignore[misc]
        _sort_in(found, confirmed)
        found.in_flight += in_flight
        if found.differing >= most_keys and done < len(buckets):
            found.complete = False
            break
    for keys in (found.missing, found.extra, found.different):
        keys.sort()
    return found


def _look(source: Side, platform: Side, settle: Callable[[], None], buckets: Sequence[int]) -> dict[str, Pair]:
    """The keys of the buckets that differ now."""
    left: KeyRows = source.keys(buckets)
    settle()
    right: KeyRows = platform.keys(buckets)
    return {
        key: (left.get(key, _NOTHING), right.get(key, _NOTHING))
        for key in left.keys() | right.keys()
        if left.get(key) != right.get(key)
    }


def _narrow(look: Callable[[], dict[str, Pair]]) -> tuple[dict[str, Pair], int]:
    """-> confirmed keys, and how many were still in flight after the last look."""
    suspects = {key: (pair, 1) for key, pair in look().items()}
    confirmed: dict[str, Pair] = {}
    for _ in range(RECHECKS):
        if not suspects:
            break
        now = look()
        suspects = {
            key: (now[key], times + 1 if now[key] == pair else 1)
            for key, (pair, times) in suspects.items()
            if key in now
        }
        confirmed |= {key: pair for key, (pair, times) in suspects.items() if times == CONFIRM}
        suspects = {key: seen for key, seen in suspects.items() if key not in confirmed}
    return confirmed, len(suspects)


def _sort_in(found: Comparison, confirmed: dict[str, Pair]) -> None:
    for key, (left, right) in confirmed.items():
        if right == _NOTHING:
            found.missing.append(key)
        elif left == _NOTHING:
            found.extra.append(key)
        else:
            found.different.append(key)


def _groups(buckets: Sequence[int], left: TableDigest, right: TableDigest) -> Iterator[list[int]]:
    group: list[int] = []
    rows = 0
    for bucket in buckets:
        more = max(left.rows[bucket], right.rows[bucket])
        if group and rows + more > GROUP_ROWS:
            yield group
            group, rows = [], 0
        group.append(bucket)
        rows += more
    if group:
        yield group
