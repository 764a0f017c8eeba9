"""A plain model of what a platform must hold: rows in dicts, one change at a time, by the words of the contract."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from forebay_collector.platform.contract import OpenedBatch
from forebay_wire.columns import ABSENT, OP

Key = tuple[Any, ...]
_WIDENS = {(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}


@dataclass
class Table:
    """A mirror: its columns, and by key (epoch, seq) and values of each row."""

    columns: list[str] = field(default_factory=list)
    rows: dict[Key, tuple[tuple[int, int], dict[str, Any]]] = field(default_factory=dict)

    def listed(self) -> list[dict[str, Any]]:
        return plain([{name: values.get(name) for name in self.columns} for _, values in self.rows.values()])


@dataclass
class Model:
    """now: the table after every change; shown: as readers of the mirror see it."""

    now: Table = field(default_factory=Table)
    shown: Table = field(default_factory=Table)
    shown_at: tuple[int, int] = (0, 0)
    epoch: int = 0
    building: bool = False
    ranged: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    types: dict[str, pa.DataType] = field(default_factory=dict)  # of the history's live columns
    retired: list[str] = field(default_factory=list)

    def take(self, loads: Sequence[OpenedBatch]) -> None:
        for load in loads:
            if load.epoch > self.epoch and load.epoch > 1:
                self.now, self.building, self.ranged = Table(), True, 0
            self._columns(load)
            self.epoch = load.epoch
            for number, row in enumerate(load.rows.to_pylist()):
                self.history.append(
                    {name: row[name] for name in self.types if name in row}
                    | {"_op": row[OP], "_epoch": load.epoch, "_seq": load.seq, "_row": number}
                )
                self._change(load, row)
            if load.snapshot and load.key_range is not None:
                self.ranged = load.snapshot
                if load.last_of_snapshot:
                    self.ranged = 0
                    self._leave(load)
            elif load.last_of_snapshot:
                self.building = False
            if load.ends_transaction and not self.building and not self.ranged:
                self.shown, self.shown_at = copy.deepcopy(self.now), (load.epoch, load.seq)

    def _columns(self, load: OpenedBatch) -> None:
        for entry in load.schema.columns:
            if entry.name not in self.now.columns:
                self.now.columns.append(entry.name)
            if entry.name in self.retired:
                self._rename(entry.name, f"{entry.name}_")
                self.retired.remove(entry.name)
                self.retired.append(f"{entry.name}_")
            held = self.types.get(entry.name, entry.type)
            if held != entry.type and not {(held, entry.type), (entry.type, held)} & _WIDENS:
                away = f"{entry.name}__epoch_{load.epoch - 1}"
                self._rename(entry.name, away)
                self.retired.append(away)
                held = entry.type
            self.types[entry.name] = entry.type if (held, entry.type) in _WIDENS else held

    def _rename(self, name: str, to: str) -> None:
        for row in self.history:
            if name in row:
                row[to] = row.pop(name)

    def _change(self, load: OpenedBatch, row: dict[str, Any]) -> None:
        key = tuple(row[name] for name in load.schema.key)
        if row[OP] == "d":
            self.now.rows.pop(key, None)
            return
        old = self.now.rows.get(key, ((0, 0), {}))[1]
        values = {entry.name: row[entry.name] for entry in load.schema.columns}
        values.update({name: old.get(name) for name in row[ABSENT] or []})
        self.now.rows[key] = ((load.epoch, load.seq), values)

    def _leave(self, load: OpenedBatch) -> None:
        assert load.key_range is not None
        least, most = (
            int(text) if text is not None else None for text in (load.key_range.at_least, load.key_range.through)
        )
        for key, (at, _) in list(self.now.rows.items()):
            inside = (least is None or key[0] >= least) and (most is None or key[0] <= most)
            if inside and at < (load.epoch, load.first_seq):
                del self.now.rows[key]


def plain(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that compare equal whatever the order of rows and columns, and of NULLs that are not told."""
    told = [{name: row[name] for name in sorted(row)} for row in rows]
    return sorted(told, key=repr)
