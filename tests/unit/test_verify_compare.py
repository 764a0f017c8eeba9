"""The comparison of a source that goes on changing with a platform that follows it: finds what differs, invents nothing."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Collection

import pytest

from forebay_collector.verify import compare as comparing
from forebay_collector.verify.compare import Comparison, Flow, Mark
from forebay_collector.verify.report import key_values, to_text
from forebay_collector.verify.sides import KeyColumns, KeyRows, Side, add_keys
from forebay_collector.verify.verify import Verified
from forebay_wire.canonical import CELLS, TableDigest, cell
from forebay_wire.part import WHOLE
from forebay_wire.stream import StreamName


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def canonical(key: int) -> bytes:
    text = str(key)
    return f"{len(text)}:{text}".encode()


class Still:
    """Nothing goes on between the sides."""

    def mark(self) -> Mark:
        return (1, 1)

    def settle(self) -> None:
        """At once."""

    def told(self, after: Mark, keys: Collection[bytes]) -> Collection[bytes]:
        return []


def compare(source: Side, platform: Side, flow: Flow, most_keys: int = 1_000) -> Comparison:
    return comparing.compare(source, lambda: platform, flow, cells=CELLS, most_keys=most_keys)


class Table:
    """One side in memory: key -> value."""

    def __init__(self, rows: dict[int, int]) -> None:
        self.rows = rows
        self.looks = 0

    def digest(self, cells: int) -> TableDigest:
        table = TableDigest(cells)
        table.add([digest(str(key)) for key in self.rows], [digest(f"{key}={held}") for key, held in self.rows.items()])
        return table

    def keys(self, cells: int, wanted: Collection[int]) -> KeyRows:
        return self._those(lambda key: cell(digest(str(key)), cells) in wanted)

    def look_up(self, keys: Collection[bytes]) -> KeyRows:
        return self._those(lambda key: canonical(key) in keys)

    def columns(self, keys: Collection[bytes]) -> KeyColumns:
        held = {canonical(key): (key, value) for key, value in self.rows.items()}
        return {
            key: {"id": digest(str(held[key][0])), "held": digest(f"{held[key][1]}")} for key in keys if key in held
        }

    def _those(self, wanted: Callable[[int], bool]) -> KeyRows:
        self.looks += 1
        found: KeyRows = {}
        rows = ((canonical(key), digest(f"{key}={held}")) for key, held in self.rows.items() if wanted(key))
        add_keys(found, rows)
        return found


class World:
    """A source with a writer, and a platform that is some changes behind until it is settled. `lost` and `twisted` keys
    never arrive, or arrive wrong. toggling: rows are there or not, and nothing else, so that both sides often show the
    same two states again."""

    def __init__(
        self, seed: int, rows: int, hot: int, lost: set[int], twisted: set[int], *, toggling: bool = False
    ) -> None:
        self.random = random.Random(seed)
        self.toggling = toggling
        self.received: list[int] = []
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
            if self.toggling:
                value = None if key in self.source.rows else 0
            if value is None:
                self.source.rows.pop(key, None)
            else:
                self.source.rows[key] = value
            self.waiting.append((key, value))

    def follow(self, leave: int) -> None:
        while len(self.waiting) > leave:
            key, value = self.waiting.pop(0)
            self.received.append(key)
            if key in self.lost:
                continue
            if value is None:
                self.platform.rows.pop(key, None)
            else:
                self.platform.rows[key] = value + (100 if key in self.twisted else 0)

    def mark(self) -> Mark:
        return (1, len(self.received))

    def told(self, after: Mark, keys: Collection[bytes]) -> Collection[bytes]:
        return {canonical(key) for key in self.received[after[1] :]}.intersection(keys)

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

    def digest(self, cells: int) -> TableDigest:
        seen = super().digest(cells)
        self.world.write()
        return seen

    def keys(self, cells: int, wanted: Collection[int]) -> KeyRows:
        seen = super().keys(cells, wanted)
        self.world.write()
        return seen

    def look_up(self, keys: Collection[bytes]) -> KeyRows:
        seen = super().look_up(keys)
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
    found = compare(Busy(world.source, world), Busy(world.platform, world), world)
    assert found.missing.named == sorted(map(canonical, lost))
    assert found.different.named == sorted(map(canonical, twisted))
    assert found.extra.named == [canonical(extra)]
    assert found.columns == {canonical(key): ("held",) for key in twisted}
    assert not found.equal
    assert found.complete


@pytest.mark.parametrize("seed", range(60))
def test_a_platform_that_follows_is_equal_however_busy_a_few_rows_are(seed: int) -> None:
    world = World(seed, 500, 40, set(), set())
    world.settle()
    found = compare(Busy(world.source, world), Busy(world.platform, world), world)
    assert found.equal, (found.missing, found.extra, found.different)


@pytest.mark.parametrize("seed", range(60))
def test_rows_that_come_and_go_all_the_time_are_never_differences(seed: int) -> None:
    """Both sides show the same two states of a row in one look after the other: only what was told can tell."""
    world = World(seed, 60, 12, set(), set(), toggling=True)
    world.settle()
    found = compare(Busy(world.source, world), Busy(world.platform, world), world)
    assert found.equal, (found.missing, found.extra, found.different)


def test_nothing_is_a_difference_while_a_snapshot_ends_that_may_remove_any_key() -> None:
    class Snapshots(Still):
        ended = 3

        def told(self, after: Mark, keys: Collection[bytes]) -> Collection[bytes]:
            self.ended -= 1
            return keys if self.ended > 0 else []

    found = compare(Table({1: 1, 2: 2}), Table({1: 1}), Snapshots())
    assert found.missing.named == [canonical(2)]
    always = Snapshots()
    always.ended = 1_000
    found = compare(Table({1: 1, 2: 2}), Table({1: 1}), always)
    assert (found.equal, found.in_flight) == (True, 1)


def test_equal_tables_need_one_look_and_no_keys() -> None:
    left, right = Table({1: 1, 2: 2}), Table({2: 2, 1: 1})
    found = compare(left, right, Still())
    assert found.equal
    assert found.source == found.platform
    assert (left.looks, right.looks) == (0, 0)


def test_a_doubled_row_is_different() -> None:
    class Doubling(Table):
        def digest(self, cells: int) -> TableDigest:
            table = super().digest(cells)
            table.add([digest("1")], [digest("1=1")])
            return table

        def keys(self, cells: int, wanted: Collection[int]) -> KeyRows:
            found = super().keys(cells, wanted)
            add_keys(found, [(canonical(1), digest("1=1"))])
            return found

        def look_up(self, keys: Collection[bytes]) -> KeyRows:
            found = super().look_up(keys)
            add_keys(found, [(canonical(1), digest("1=1"))])
            return found

    found = compare(Table({1: 1, 2: 2}), Doubling({1: 1, 2: 2}), Still())
    assert found.different.named == [canonical(1)]
    assert not found.equal


def test_a_row_that_changes_at_every_look_is_counted_not_reported() -> None:
    class Restless(Still):
        def told(self, after: Mark, keys: Collection[bytes]) -> Collection[bytes]:
            return [key for key in keys if key == canonical(1)]

    found = compare(Table({1: 1, 2: 2}), Table({1: 0, 2: 2}), Restless())
    assert found.equal
    assert found.in_flight == 1


def test_all_differences_are_counted_and_as_many_named_as_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "GROUP_ROWS", 50)
    monkeypatch.setattr(comparing, "LOOKED_UP", 40)  # more suspects are looked for in their cells
    found = compare(Table(dict.fromkeys(range(1_000), 1)), Table({7_777: 1}), Still(), most_keys=100)
    assert (found.missing.count, found.extra.count, found.differing) == (1_000, 1, 1_001)
    assert len(found.named) == 100
    assert not found.complete


def test_keys_are_shown_by_column_and_unreadable_bytes_as_they_are() -> None:
    assert key_values("2:12-6:市民".encode(), ("a", "b", "c")) == {"a": "12", "b": None, "c": "市民"}
    assert key_values(b"2:\xff\xfe", ("a",)) is None
    found = compare(Table({}), Table({7: 1}), Still())
    text = to_text(StreamName("d", "s", "t"), Verified(found, ("id",), WHOLE, "log"), 1.0)
    assert "NOT EQUAL" in text
    assert "missing=0 extra=1 different=0" in text
