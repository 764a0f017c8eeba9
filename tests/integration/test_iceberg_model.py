"""Random loads, compactions and deaths against a plain model: the mirror is never wrong.

Each seed is one life of a platform: inserts, updates, deletes, keys used again, keys that change, absent columns, new
columns, wider types, transactions of several batches, snapshots of key ranges, new epochs that drop, retype and rename
columns and change the key, truncations, compaction and expiry, and a failure injected at any file, link or commit,
before it or after it took effect. What failed is applied again, from a random point at or before where it failed,
sometimes by a platform opened anew. After every step readers see what the model shows, and no half of anything.
`MODEL_SEEDS=200` lives more lives; a failing seed, printed as the test's parameter, goes into `REMEMBERED`.
"""

from __future__ import annotations

import datetime as dt
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from forebay_collector.platform.contract import OpenedBatch, PlatformError, PlatformMark
from forebay_collector.platform.iceberg import IcebergPlatform, Upkeep
from forebay_collector.platform.iceberg.durable_io import DurableFile
from forebay_wire.key_range import KeyRange
from forebay_wire.schema import TableSchema
from tests.contract.platform_batches import STREAM, Row, ask, batch, mirror, schema
from tests.contract.platform_model import Model, plain

REMEMBERED: list[int] = [7, 9, 35]
SEEDS = int(os.environ.get("MODEL_SEEDS", "5"))
_UPKEEP = Upkeep(
    deleted_share=0.3, small_rows=60, merge_files=3, class_factor=4, grace_s=0, keep_snapshots=2, expire_from=2
)
_KINDS = [pa.string(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.date32(), pa.bool_()]
_KEYS: list[dict[str, pa.DataType]] = [
    {"id": pa.int32()},
    {"id": pa.int64()},
    {"id": pa.int32(), "part": pa.int64()},
    {"id": pa.string()},
    {"id": pa.string(), "part": pa.int32()},
]


class Died(BaseException):
    """Stands for the end of the process: nothing catches it."""


class Faults:
    """Lets a chosen one of the coming file and commit operations fail, before or after it took effect."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left: int | None = None
        self._after = False
        self._error: BaseException = Died()
        self.struck = 0
        for owner, name in ((DurableFile, "create"), (DurableFile, "link_from"), (SqlCatalog, "commit_table")):
            monkeypatch.setattr(owner, name, self._failing(getattr(owner, name)))

    def _failing(self, real: Any) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            if self._left is None:
                return real(*arguments, **named)
            self._left -= 1
            if self._left >= 0:
                return real(*arguments, **named)
            self._left = None
            self.struck += 1
            if self._after:
                done = real(*arguments, **named)
                if hasattr(done, "close"):
                    done.close()  # an empty file is left behind
            raise self._error

        return wrapped

    @contextmanager
    def armed(self, chance: random.Random) -> Iterator[None]:
        """At most one operation of the body fails."""
        self._left = chance.randrange(14)
        self._after = chance.random() < 0.5
        self._error = Died() if chance.random() < 0.6 else OSError(28, "No space left on device")
        try:
            yield
        finally:
            self._left = None


class Life:
    """Makes the loads of one seed."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.columns: dict[str, pa.DataType] = {
            **chance.choice(_KEYS),
            "a": pa.string(),
            "n": pa.int32(),
            "f": pa.float32(),
        }
        self.key = tuple(name for name in self.columns if name in ("id", "part"))
        self.epoch = 1
        self.seq = 0
        self.snapshot = 1
        self.copying = True  # the epoch's snapshot
        self.range: tuple[KeyRange, int] | None = None  # and its first seq

    @property
    def schema(self) -> TableSchema:
        return schema(self.columns, self.key)

    def batch(self) -> OpenedBatch:
        chance = self.chance
        if chance.random() < 0.08:
            self._widen()
        if chance.random() < 0.06:
            return self._begin()
        self.seq += 1
        size = chance.choice([0, 1, 3, 10, 40])
        rows = [row for _ in range(size) for row in self._change()]
        if self.copying and chance.random() < 0.5:
            last = chance.random() < 0.4
            self.copying = not last
            return self._made(rows, snapshot=1, last=last)
        if self.range is None and self.columns["id"] != pa.string() and chance.random() < 0.1:
            bounds = [chance.choice([None, chance.randrange(60)]) for _ in range(2)]
            least, most = (None if bound is None else str(bound) for bound in bounds)
            # changes that came while the first rows were read were told of before
            self.range = (KeyRange(least, most), max(1, self.seq - chance.randrange(3)))
            self.snapshot += 1
        if self.range is not None and chance.random() < 0.5:
            bounds_, first_seq = self.range
            last = chance.random() < 0.5
            if last or chance.random() < 0.1:
                self.range = None  # or it is given up, and another takes its place
            return self._made(rows, snapshot=self.snapshot, last=last, within=bounds_, first_seq=first_seq)
        return self._made(rows, ends=chance.random() < 0.8)

    def _made(self, rows: list[Row], **more: Any) -> OpenedBatch:
        return batch(self.seq, rows, self.schema, epoch=self.epoch, **more)

    def _begin(self) -> OpenedBatch:
        """A new epoch: a truncation, or another table under the same name."""
        self.epoch, self.seq, self.snapshot, self.range = self.epoch + 1, 1, 1, None
        self.copying = self.chance.random() < 0.6
        if self.copying:
            self._alter()
        return self._made([], snapshot=1, last=not self.copying)

    def _alter(self) -> None:
        for name in [name for name in self.columns if name not in ("id", "part")]:
            if self.chance.random() < 0.3:
                del self.columns[name]
        for name in self.chance.sample(["a", "n", "f", "x3", "a__epoch_1", "n__epoch_1"], 2):
            self.columns[name] = self.chance.choice(_KINDS)
        if self.chance.random() < 0.3:
            for name in ("id", "part"):
                self.columns.pop(name, None)
            self.columns |= self.chance.choice(_KEYS)
            self.key = tuple(name for name in self.columns if name in ("id", "part"))

    def _widen(self) -> None:
        if self.chance.random() < 0.5:
            self.columns.setdefault(f"x{len(self.columns)}", self.chance.choice(_KINDS))
            return
        wider = {pa.int32(): pa.int64(), pa.float32(): pa.float64()}
        name = self.chance.choice(list(self.columns))
        self.columns[name] = wider.get(self.columns[name], self.columns[name])

    def _key(self) -> dict[str, Any]:
        number = self.chance.randrange(60)
        texts = self.columns["id"] == pa.string()
        key: dict[str, Any] = {"id": f"{number % 7}:" * (number % 9) if texts else number}
        if "part" in self.key:
            key["part"] = number % 5
        return key

    def _values(self) -> dict[str, Any]:
        number = self.chance.randrange(1000)
        values = {
            pa.string(): f"值{number}",
            pa.date32(): dt.date(2026, 1, 1) + dt.timedelta(number),
            pa.bool_(): number % 2 == 0,
            pa.float32(): number / 4,
            pa.float64(): number / 4,
        }
        return {
            name: values.get(kind, number)
            for name, kind in self.columns.items()
            if name not in self.key and self.chance.random() < 0.8
        }

    def _change(self) -> list[Row]:
        key, kind = self._key(), self.chance.random()
        if kind < 0.25:
            return [("d", key)]
        if kind < 0.5:
            share = self.chance.choice([0.4, 0.9])
            absent = [name for name in self.columns if name not in self.key and self.chance.random() < share]
            values = {name: value for name, value in self._values().items() if name not in absent}
            return [("u", {**values, **key}, absent)]
        if kind < 0.6:
            return [("d", key), ("c", {**self._values(), **self._key()})]
        return [(self.chance.choice("rcu"), {**self._values(), **key})]


def _fails(work: Callable[[], object], faults: Faults, chance: random.Random) -> bool:
    """Whether the work failed; what may be tried again only says so."""
    try:
        with faults.armed(chance):
            work()
    except Died:
        return True
    except PlatformError as error:
        if error.permanent:
            raise
        return True
    return False


@pytest.mark.parametrize("seed", [*REMEMBERED, *range(SEEDS)])
def test_the_mirror_is_what_the_changes_make_it_whatever_dies(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    life, faults = Life(chance), Faults(monkeypatch)
    model = Model()
    loads: list[OpenedBatch] = []
    clock = iter(range(1, 10**9))

    def opened() -> IcebergPlatform:
        return IcebergPlatform(tmp_path / "platform", upkeep=_UPKEEP, clock=lambda: float(next(clock)))

    platform = opened()
    for _ in range(45):
        states = {_told(model)}
        fresh = [life.batch() for _ in range(chance.choice([1, 1, 2, 4]))]
        for one in fresh:
            model.take([one])
            states.add(_told(model))
        tail = loads[-chance.randrange(4) :] if chance.random() < 0.3 else []
        loads += fresh
        if _fails(lambda: platform.apply(STREAM, [*tail, *fresh]), faults, chance):  # noqa: B023
            if chance.random() < 0.5:
                platform.close()
                platform = opened()
            at, rows = platform.visible(STREAM), plain(mirror(platform))
            assert ((at.epoch, at.seq), repr(rows)) in states, f"seed {seed}: readers see half of something"
            mark = platform.mark(STREAM)
            assert at <= mark <= PlatformMark(life.epoch, life.seq)
            due = [load for load in loads if PlatformMark(load.epoch, load.seq) > mark]
            # some of what is already there comes again
            platform.apply(STREAM, loads[-len(due) - chance.randrange(3) :] if due else loads[-1:])
        assert platform.mark(STREAM) == PlatformMark(life.epoch, life.seq)
        if chance.random() < 0.5:
            _fails(lambda: platform.maintain(STREAM), faults, chance)  # noqa: B023
        at = platform.visible(STREAM)
        assert ((at.epoch, at.seq), repr(plain(mirror(platform)))) == _told(model), f"seed {seed}"
    assert faults.struck > 5, "the faults never struck"
    if model.shown.columns:
        names = ", ".join(f'"{name}"' for name in model.shown.columns)
        assert plain(ask(platform, f"SELECT {names} FROM enterprise")) == model.shown.listed()
    history = ask(platform, "SELECT * EXCLUDE (_position, _committed_at, _absent) FROM enterprise_changes")
    assert _without_nulls(history) == _without_nulls(model.history)
    listed = {table.kind: table.rows for table in platform.tables()}
    assert listed == {"mirror": len(model.shown.rows), "changes": len(model.history)}
    platform.close()


def _told(model: Model) -> tuple[tuple[int, int], str]:
    return model.shown_at, repr(model.shown.listed())


def _without_nulls(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return plain([{name: value for name, value in row.items() if value is not None} for row in rows])
