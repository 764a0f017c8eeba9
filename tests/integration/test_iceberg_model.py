"""Random loads, compactions and deaths against a plain model: the mirror is never wrong.

Each seed is one life of a platform: inserts, updates, deletes, keys used again, keys that change, absent columns, new
columns, wider types, new epochs, compaction and expiry, and a failure injected at any file, link or commit, before it
or after it took effect. What failed is applied again, from a random point at or before where it failed, sometimes by a
platform opened anew. `MODEL_SEEDS=200` lives more lives; a failing seed, printed as the test's parameter, goes into `REMEMBERED`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from forebay_collector.platform.contract import OpenedBatch, PlatformError, PlatformMark
from forebay_collector.platform.iceberg import IcebergPlatform, Upkeep
from forebay_collector.platform.iceberg.durable_io import DurableFile
from forebay_wire.schema import TableSchema
from tests.contract.platform_batches import STREAM, Model, Row, ask, batch, mirror, schema

REMEMBERED: list[int] = [7, 9]
SEEDS = int(os.environ.get("MODEL_SEEDS", "5"))
_UPKEEP = Upkeep(
    deleted_share=0.3, small_rows=60, merge_files=3, class_factor=4, grace_s=0, keep_snapshots=2, expire_from=2
)
_KEYS: list[dict[str, pa.DataType]] = [
    {"id": pa.int32()},
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
        self.alive: set[tuple[Any, ...]] = set()

    @property
    def schema(self) -> TableSchema:
        return schema(self.columns, self.key)

    def batch(self) -> OpenedBatch:
        chance = self.chance
        if chance.random() < 0.12:
            self._alter()
        if chance.random() < 0.06:
            self.epoch, self.seq = self.epoch + 1, 0
        self.seq += 1
        size = chance.choice([0, 1, 3, 10, 40])
        rows = [row for _ in range(size) for row in self._change()]
        last = chance.random() < 0.15
        return batch(self.seq, rows, self.schema, epoch=self.epoch, last=last)

    def _alter(self) -> None:
        if self.chance.random() < 0.5:
            self.columns[f"x{len(self.columns)}"] = self.chance.choice([pa.string(), pa.date32(), pa.bool_()])
        else:
            name = self.chance.choice(["n", "f", "id"])
            wider = {pa.int32(): pa.int64(), pa.float32(): pa.float64()}
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
        made = {"a": f"值{number}", "n": number, "f": number / 4}
        for name, kind in self.columns.items():
            if name.startswith("x") and self.chance.random() < 0.7:
                made[name] = {pa.string(): str(number), pa.bool_(): True}.get(kind)
        return made

    def _change(self) -> list[Row]:
        key, kind = self._key(), self.chance.random()
        if kind < 0.25:
            return [("d", key)]
        if kind < 0.45:
            absent = [name for name in self.columns if name not in self.key and self.chance.random() < 0.4]
            values = {name: value for name, value in self._values().items() if name not in absent}
            return [("u", {**values, **key}, absent)]
        if kind < 0.55:
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
    model = Model(key=life.key)
    loads: list[OpenedBatch] = []
    clock = iter(range(1, 10**9))

    def opened() -> IcebergPlatform:
        return IcebergPlatform(tmp_path / "platform", upkeep=_UPKEEP, clock=lambda: float(next(clock)))

    platform = opened()
    for _ in range(35):
        fresh = [life.batch() for _ in range(chance.choice([1, 1, 2, 4]))]
        model.take(fresh)
        tail = loads[-chance.randrange(4) :] if chance.random() < 0.3 else []
        loads += fresh
        if _fails(lambda: platform.apply(STREAM, [*tail, *fresh]), faults, chance):  # noqa: B023
            if chance.random() < 0.5:
                platform.close()
                platform = opened()
            mark = platform.mark(STREAM)
            assert mark <= PlatformMark(life.epoch, life.seq)
            due = [load for load in loads if PlatformMark(load.epoch, load.seq) > mark]
            # some of what is already there comes again
            platform.apply(STREAM, loads[-len(due) - chance.randrange(3) :] if due else loads[-1:])
        assert platform.mark(STREAM) == PlatformMark(life.epoch, life.seq)
        if chance.random() < 0.5:
            _fails(lambda: platform.maintain(STREAM), faults, chance)  # noqa: B023
        assert mirror(platform) == model.mirror(), f"seed {seed}"
    assert faults.struck > 5, "the faults never struck"
    names = ", ".join(f'"{name}"' for name in model.columns)
    assert sorted(ask(platform, f"SELECT {names} FROM enterprise"), key=repr) == model.mirror()
    assert ask(platform, "SELECT count(*) AS n FROM enterprise_changes") == [{"n": model.changes}]
    listed = {table.kind: table.rows for table in platform.tables()}
    assert listed == {"mirror": len(model.rows), "changes": model.changes}
    platform.close()
