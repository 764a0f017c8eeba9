"""Which transactions a snapshot of PostgreSQL does not see, whichever way their numbers have gone round."""

from __future__ import annotations

import random
from array import array

import pytest

from forebay_agent.capture.postgresql.log.visibility import Snapshot

ALL = 1 << 32


@pytest.mark.parametrize("end", [3, 1_000_000, (1 << 31) - 1, 1 << 31, ALL - 1])
def test_a_snapshot_sees_what_had_ended_before_its_end(end: int) -> None:
    before = [(end - distance) % ALL for distance in (1, 2, 1000, (1 << 31) - 1)]
    after = [(end + distance) % ALL for distance in (0, 1, 1000, (1 << 31) - 1)]
    still_open = frozenset(before[1:2])
    told = Snapshot(end, still_open).unseen(array("I", [*before, *after]))
    assert list(told) == [before[1], *after]


def test_every_number_is_judged_as_by_itself() -> None:
    draw = random.Random(20_261_128)
    for _ in range(50):
        end = draw.randrange(ALL)
        xids = [(end + draw.randrange(-200, 100)) % ALL for _ in range(300)]
        still_open = frozenset(draw.sample(xids, 20))
        wanted = [xid for xid in xids if xid in still_open or (xid - end) % ALL < 1 << 31]
        assert list(Snapshot(end, still_open).unseen(array("I", xids))) == wanted


def test_nothing_is_nothing() -> None:
    assert not Snapshot(7, frozenset()).unseen(array("I"))
