"""The comparison of a source that goes on changing with a platform that follows it: finds what differs, invents nothing."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection

import pytest

from forebay_collector.verify import compare as comparing
from forebay_collector.verify.compare import compare
from forebay_collector.verify.report import key_values, to_text
from forebay_collector.verify.sides import KeyRows, add_keys
from forebay_wire.canonical import TableDigest
from forebay_wire.canonical import bucket as bucket_of
from forebay_wire.stream import StreamName


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class Table:
    """One side in memory: key -> value."""

    def __init__(self, rows: dict[int, int]) -> None:
        self.rows = rows
        self.looks = 0

    def digest(self) -> TableDigest:
        table = TableDigest()
        table.add([digest(str(key)) for key in self.rows], [digest(f"{key}={held}") for key, held in self.rows.items()])
        return table

    def keys(self, buckets: Collection[int]) -> KeyRows:
        self.looks += 1
        found: KeyRows = {}
        add_keys(
            found,
            (
                (str(key), digest(f"{key}={held}"))
                for key, held in self.rows.items()
                if bucket_of(digest(str(key))) in buckets
            ),
        )
        return found


class World:
    """A source with a writer, and a platform that is some changes behind until it is settled. `lost` and `twisted` keys
    never arrive, or arrive wrong."""

    def __init__(self, seed: int, rows: int, hot: int, lost: set[int], twisted: set[int]) -> None:
        self.random = random.Random(seed)
        self.source = Table(dict.fromkeys(range(rows), 0))
        self.platform = Table({})
        self.hot = hot
        self.lost = lost
        self.twisted = twisted
        self.waiting: list[tuple[int, int | None]] = [(key, 0) for key in range(rows)]

    def write(self) -> None:
        for _ in range(self.random.randrange(3)):
            key = self.random.randrange(self.hot)
            value = None if self.random.random() < 0.2 else self.random.randrange(3)
            if value is None:
                self.source.rows.pop(key, None)
            else:
                self.source.rows[key] = value
            self.waiting.append((key, value))

    def follow(self, leave: int) -> None:
        while len(self.waiting) > leave:
            key, value = self.waiting.pop(0)
            if key in self.lost:
                continue
            if value is None:
                self.platform.rows.pop(key, None)
            else:
                self.platform.rows[key] = value + (100 if key in self.twisted else 0)

    def settle(self) -> None:
        target = len(self.waiting)
        self.write()
        self.follow(len(self.waiting) - target)
        self.write()
        self.follow(self.random.randrange(len(self.waiting) + 1))


class Busy(Table):
    """A side whose world goes on after each look at it."""

    def __init__(self, table: Table, world: World) -> None:
        super().__init__(table.rows)
        self.world = world

    def digest(self) -> TableDigest:
        seen = super().digest()
        self.world.write()
        return seen

    def keys(self, buckets: Collection[int]) -> KeyRows:
        seen = super().keys(buckets)
        self.world.write()
        return seen


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_invented_and_nothing_planted_is_missed_while_the_source_goes_on(seed: int) -> None:
    rows = 3_000
    hot = rows - 500  # the planted keys are not written to any more
    lost = {rows - 1, rows - 7, rows - 400}
    twisted = {rows - 3, rows - 50}
    world = World(seed, rows, hot, lost, twisted)
    world.settle()
    extra = rows + 5
    world.platform.rows[extra] = 7
    found = compare(Busy(world.source, world), Busy(world.platform, world), world.settle)
    assert found.missing == sorted(map(str, lost))
    assert found.different == sorted(map(str, twisted))
    assert found.extra == [str(extra)]
    assert not found.equal
    assert found.complete


@pytest.mark.parametrize("seed", range(60))
def test_a_platform_that_follows_is_equal_however_busy_a_few_rows_are(seed: int) -> None:
    world = World(seed, 500, 40, set(), set())
    world.settle()
    found = compare(Busy(world.source, world), Busy(world.platform, world), world.settle)
    assert found.equal, (found.missing, found.extra, found.different)


def test_equal_tables_need_one_look_and_no_keys() -> None:
    left, right = Table({1: 1, 2: 2}), Table({2: 2, 1: 1})
    found = compare(left, right, lambda: None)
    assert found.equal
    assert found.source == found.platform
    assert (left.looks, right.looks) == (0, 0)


def test_a_doubled_row_is_different() -> None:
    class Doubling(Table):
        def digest(self) -> TableDigest:
            table = super().digest()
            table.add([digest("1")], [digest("1=1")])
            return table

        def keys(self, buckets: Collection[int]) -> KeyRows:
            found = super().keys(buckets)
            add_keys(found, [("1", digest("1=1"))])
            return found

    found = compare(Table({1: 1, 2: 2}), Doubling({1: 1, 2: 2}), lambda: None)
    assert found.different == ["1"]
    assert not found.equal


def test_a_row_that_changes_at_every_look_is_counted_not_reported() -> None:
    class Restless(Table):
        def keys(self, buckets: Collection[int]) -> KeyRows:
            self.rows[1] += 1
            return super().keys(buckets)

    found = compare(Restless({1: 1, 2: 2}), Table({1: 0, 2: 2}), lambda: None)
    assert found.equal
    assert found.in_flight == 1


def test_the_listing_stops_at_the_most_keys_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "GROUP_ROWS", 50)
    found = compare(Table(dict.fromkeys(range(1_000), 1)), Table({}), lambda: None, most_keys=100)
    assert not found.complete
    assert 100 <= len(found.missing) < 200


def test_keys_are_shown_by_column_and_unreadable_bytes_as_they_are() -> None:
    assert key_values("2:12-6:市民", ("a", "b", "c")) == {"a": "12", "b": None, "c": "市民"}
    assert key_values("2:\\xff\\xfe", ("a",)) is None
    text = to_text(StreamName("d", "s", "t"), compare(Table({}), Table({7: 1}), lambda: None), ("id",), 1.0)
    assert "NOT EQUAL" in text
    assert "missing=0 extra=1 different=0" in text
