"""The source's side of a comparison: what its agent answers to SourceDigest, SourceKeys and SourceRows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from forebay_collector.errors import CommandFailed
from forebay_collector.verify.away import Away
from forebay_collector.verify.sides import KeyColumns, KeyRows, add_keys
from forebay_wire.canonical import TableDigest
from forebay_wire.part import WHOLE, Part
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

KEYS_AT_ONCE: Final = 10_000
"""keys of one command"""

Ask = Callable[[control_pb2.Command], Iterator[control_pb2.CommandResult]]


@dataclass(slots=True)
class Source:
    """A table, or a part of it, at its source, read through its agent's transform. Methods raise what `ask` raises.

    After `digest` of a part without an end, `part` has the end that the agent found; None: the table's.
    rows_per_second: at most, 0: as the source's own file says.
    """

    ask: Ask
    stream: StreamName
    part: Part = WHOLE
    rows_per_second: int = 0
    away: Away = field(default_factory=Away)

    def digest(self, cells: int) -> TableDigest:
        return self.away.asked(lambda: self._digest(cells))

    def keys(self, cells: int, wanted: Collection[int]) -> KeyRows:
        return self.away.asked(lambda: self._keys(cells, wanted))

    def look_up(self, keys: Collection[bytes]) -> KeyRows:
        found: KeyRows = {}
        for some in _few(keys):
            told = self.away.asked(partial(self._looked_up, some, columns=False))
            add_keys(found, ((entry.key, entry.digest) for entry in told))
        return found

    def columns(self, keys: Collection[bytes]) -> KeyColumns:
        found: KeyColumns = {}
        for some in _few(keys):
            for entry in self.away.asked(partial(self._looked_up, some, columns=True)):
                found[entry.key] = {column.name: column.digest for column in entry.columns}
        return found

    def _digest(self, cells: int) -> TableDigest:
        table = TableDigest(cells)
        asked = control_pb2.SourceDigest(
            stream=self.stream.to_proto(),
            cells=cells,
            part=self.part.to_proto(),
            rows_per_second=self.rows_per_second,
        )
        through = None
        for answer in self.ask(control_pb2.Command(source_digest=asked)):
            for entry in answer.buckets:
                if entry.bucket >= cells:
                    raise CommandFailed(f"{self.stream}: the agent answers cell {entry.bucket} of {cells}")
                table.put(entry.bucket, entry.rows, entry.digest)
            through = answer.through if answer.HasField("through") else None
        if self.part.rows:
            self.part = replace(self.part, through=through, rows=0)
        return table

    def _keys(self, cells: int, wanted: Collection[int]) -> KeyRows:
        asked = control_pb2.SourceKeys(
            stream=self.stream.to_proto(),
            buckets=sorted(wanted),
            cells=cells,
            part=self.part.to_proto(),
            rows_per_second=self.rows_per_second,
        )
        found: KeyRows = {}
        for answer in self.ask(control_pb2.Command(source_keys=asked)):
            add_keys(found, ((entry.key, entry.digest) for entry in answer.keys))
        return found

    def _looked_up(self, keys: list[bytes], *, columns: bool) -> list[control_pb2.KeyDigest]:
        asked = control_pb2.SourceRows(stream=self.stream.to_proto(), keys=keys, columns=columns)
        return [entry for answer in self.ask(control_pb2.Command(source_rows=asked)) for entry in answer.keys]


def _few(keys: Collection[bytes]) -> Iterator[list[bytes]]:
    """In order, as many at a time as one command takes."""
    wanted = sorted(keys)
    for start in range(0, len(wanted), KEYS_AT_ONCE):
        yield wanted[start : start + KEYS_AT_ONCE]
