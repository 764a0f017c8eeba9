"""The source's side of a comparison: what its agent answers to SourceDigest and SourceKeys."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from forebay_collector.errors import CommandFailed
from forebay_collector.verify.sides import KeyRows, add_keys
from forebay_wire.canonical import BUCKETS, TableDigest
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

Ask = Callable[[control_pb2.Command], Iterator[control_pb2.CommandResult]]


@dataclass(frozen=True, slots=True)
class Source:
    """A table at its source, read through its agent's transform. Methods raise what `ask` raises."""

    ask: Ask
    stream: StreamName

    def digest(self) -> TableDigest:
        table = TableDigest()
        command = control_pb2.Command(source_digest=control_pb2.SourceDigest(stream=self.stream.to_proto()))
        for part in self.ask(command):
            for entry in part.buckets:
                if entry.bucket >= BUCKETS:
                    raise CommandFailed(f"{self.stream}: the agent answers bucket {entry.bucket} of {BUCKETS}")
                table.rows[entry.bucket] += entry.rows
                table.sums[entry.bucket] = (table.sums[entry.bucket] + int.from_bytes(entry.digest, "big")) % (1 << 128)
        return table

    def keys(self, buckets: Collection[int]) -> KeyRows:
        found: KeyRows = {}
        wanted = control_pb2.SourceKeys(stream=self.stream.to_proto(), buckets=sorted(buckets))
        for part in self.ask(control_pb2.Command(source_keys=wanted)):
            add_keys(found, ((entry.key, entry.digest) for entry in part.keys))
        return found
