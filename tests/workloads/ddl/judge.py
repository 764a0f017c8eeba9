"""The platform held against what was written: the mirror is the source, and every image of the history is one that was.

Of each image: its stamp is one that was committed for that key, and every column holds the value that was last written
to it up to that stamp, whatever it was called then, or its default where none was written. Within an epoch the log's
images of a key follow each other without a gap, and a copied row is the one that the log told last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from forebay_collector.demo.processes import DemoFailed
from tests.workloads import evidence
from tests.workloads.ddl.servers import Dialect
from tests.workloads.ddl.tables import Column, Table, Write
from tests.workloads.evidence import Change, Plain
from tests.workloads.site import Site

_RETIRED: Final = re.compile(r"__epoch_\d+_*$")
_SHOWN: Final = 5
_SOME: Final = -1  # a delete of which nobody can tell which it is


@dataclass(slots=True)
class Verdict:
    rows: int = 0
    images: int = 0
    epochs: int = 0
    wrong: list[str] = field(default_factory=list)


def mirror_differs(site: Site, dialect: Dialect, table: Table) -> tuple[int, str]:
    """-> the source's rows, and how the mirror differs; "" when it does not."""
    names = [
        name for name in evidence.columns(dialect.server, table.full_name, dialect.database) if table.captures(name)
    ]
    names = ["id", *(name for name in names if name != "id")]
    source = evidence.source_rows(dialect.server, table.full_name, names, dialect.database)
    held = evidence.mirror_columns(site.data, table.full_name)
    lacking = [name for name in names if name not in held]
    found = evidence.difference(source, evidence.mirror_rows(site.data, table.full_name, names))
    if lacking and source:
        return len(source), f"{table.full_name}: the mirror has no column {', '.join(lacking)}"
    return len(
        source
    ), "" if found.equal else f"{table.full_name}: {found.told()}{_first(found, source, site, table, names)}"


def judge(site: Site, table: Table) -> Verdict:
    """Looks at the whole history."""
    changes = evidence.history(site.data, table.full_name)
    if not changes:
        return Verdict()
    return _Judging(table, changes).verdict()


class _Judging:
    def __init__(self, table: Table, changes: Sequence[Change]) -> None:
        self._table = table
        self._changes = changes
        self._place = {
            (write.key, write.stamp): place
            for writes in table.writes.values()
            for place, write in enumerate(writes)
            if write.stamp
        }
        self._found = Verdict(images=len(changes), epochs=len({change.epoch for change in changes}))
        self._values = [_merged(change.values) for change in changes]
        self._filled = self._first_filled()

    def verdict(self) -> Verdict:
        names = set(self._values[0]) - {"id", "stamp"}
        if leaked := [name for name in names if not self._table.captures(name)]:
            self._wrong(f"columns that are not captured are in the history: {leaked}")
        last: dict[tuple[int, int], tuple[Change, int]] = {}
        for number, change in enumerate(self._changes):
            key = _key(change)
            writes = self._table.writes.get(key)
            if writes is None:
                self._wrong(f"{_shown(change)}: no such key was ever committed")
                continue
            before = last.get((change.epoch, key))
            if change.op == "d":
                last[change.epoch, key] = change, self._deleted(change, writes, before)
                continue
            if "stamp" in change.absent:
                self._filled_in(number, change, writes, before)
                continue
            place = self._place.get((key, int(change.values["stamp"] or 0)))
            if place is None:
                self._wrong(f"{_shown(change)}: no such image was ever committed")
                continue
            self._order(change, place, before, writes)
            last[change.epoch, key] = change, place
            self._columns(number, change, writes[: place + 1])
        return self._found

    def _order(self, change: Change, place: int, before: tuple[Change, int] | None, writes: Sequence[Write]) -> None:
        """Nothing is told twice, left out or out of order within an epoch."""
        if before is None:
            return
        if change.op == "r":
            if place != before[1] or before[0].op == "d":
                self._wrong(f"{_shown(change)}: copied after the log told {_shown(before[0])}")
            return
        if place == before[1] + 1 or (before[1] == _SOME and place and writes[place - 1].op == "d"):
            return
        between = [f"{write.op} {write.stamp}" for write in writes[max(before[1], 0) + 1 : place]]
        self._wrong(f"{_shown(change)}: after {_shown(before[0])}, without {between or 'having gone on'}")

    def _deleted(self, change: Change, writes: Sequence[Write], before: tuple[Change, int] | None) -> int:
        """The delete's place among the key's writes; `_SOME` where the log does not tell which."""
        stamp = int(change.values["stamp"] or 0)
        known = self._place.get((_key(change), stamp), _SOME) if stamp else before[1] if before else _SOME
        if stamp and (known == _SOME or (before is not None and before[1] not in (known, _SOME))):
            self._wrong(f"{_shown(change)}: does not follow from {before and _shown(before[0])}")
        if known == _SOME:
            return _SOME
        if known + 1 >= len(writes) or writes[known + 1].op != "d":
            self._wrong(f"{_shown(change)}: no such delete was committed after {before and _shown(before[0])}")
        return known + 1

    def _filled_in(
        self, number: int, change: Change, writes: Sequence[Write], before: tuple[Change, int] | None
    ) -> None:
        """Large values that the log never told of the key, because they did not change: the copy brings them."""
        if before is None or before[0].op == "d" or change.op != "u":
            self._wrong(f"{_shown(change)}: values without a row that they belong to")
            return
        self._columns(number, change, writes[: before[1] + 1])

    def _columns(self, number: int, change: Change, writes: Sequence[Write]) -> None:
        """writes: the key's, up to the image's own."""
        image = writes[-1]
        for name, value in self._values[number].items():
            if name in ("id", "stamp") or name in change.absent:
                continue
            if change.op == "r" or "stamp" in change.absent:
                columns = [each for each in self._table.columns if any(n.name == name for n in each.namings)]
            else:
                columns = self._table.called(name, image.begin, image.end)
            allowed = {_text(each) for column in columns for each in self._possible(column, writes)}
            if _text(value) in allowed:
                continue
            if value is None and number < self._filled.get((change.epoch, name), len(self._changes)):
                continue  # the column is not there yet in this epoch
            expected = sorted(str(each)[:60] for each in allowed)
            self._wrong(f"{_shown(change)}: column {name} holds {str(value)[:60]!r}, written was {expected}")

    def _possible(self, column: Column, writes: Sequence[Write]) -> list[Plain]:
        """What the column holds after these writes. More than one value where a statement was about to change names while a
        row was written: nobody knows which came first."""
        found: list[Plain] = []
        for write in reversed(writes):
            certain = False
            for name, value in write.values.items():
                if column.bore(name, write.begin, write.end):
                    found.append(value)
                    certain = len(self._table.called(name, write.begin, write.end)) == 1
            if certain:
                return found
            if write.op == "c":
                break
        return [*found, column.default]

    def _first_filled(self) -> dict[tuple[int, str], int]:
        """(epoch, column) -> the first change of the epoch that has a value in it."""
        filled: dict[tuple[int, str], int] = {}
        for number, (change, values) in enumerate(zip(self._changes, self._values, strict=True)):
            for name, value in values.items():
                if value is not None:
                    filled.setdefault((change.epoch, name), number)
        return filled

    def _wrong(self, what: str) -> None:
        if len(self._found.wrong) < _SHOWN:
            self._found.wrong.append(f"{self._table.full_name}: {what}")


def _key(change: Change) -> int:
    return int(change.values["id"] or 0)


def _merged(values: Mapping[str, Plain]) -> dict[str, Plain]:
    """Retired columns under the name that they bore."""
    merged: dict[str, Plain] = {}
    for name, value in values.items():
        base = _RETIRED.sub("", name)
        if merged.get(base) is None:
            merged[base] = value
    return merged


def _text(value: Plain) -> str | None:
    return None if value is None else str(value)


def _shown(change: Change) -> str:
    return f"{change.op} of {change.values['id']} stamp {change.values['stamp']} in epoch {change.epoch} at {change.position}"


def _first(
    found: evidence.Difference, source: Sequence[evidence.Row], site: Site, table: Table, names: Sequence[str]
) -> str:
    """The first row that differs, as both sides have it."""
    if not found.different:
        return ""
    key = found.different[0]
    mirror = next(row for row in evidence.mirror_rows(site.data, table.full_name, names) if row[0] == key)
    row = next(row for row in source if row[0] == key)
    told = {
        name: (str(wanted)[:40], str(held)[:40])
        for name, wanted, held in zip(names, row, mirror, strict=True)
        if wanted != held
    }
    return f"; of {key} the source and the mirror have {told}"


def refuse(verdicts: Sequence[Verdict]) -> None:
    """Raises DemoFailed when a history holds something that never was."""
    if wrong := [each for verdict in verdicts for each in verdict.wrong]:
        raise DemoFailed("; ".join(wrong))
