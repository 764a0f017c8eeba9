"""What goes on between a source and its platform, as a comparison sees it: see `compare.Flow`."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from forebay_collector.errors import LoadStalled, NotKnown, NotPossible
from forebay_collector.ledger import Ledger, StreamRecord
from forebay_collector.load import group
from forebay_collector.load.group import GroupSize
from forebay_collector.load.policy import remedy_of_hold
from forebay_collector.platform.contract import Platform, PlatformMark
from forebay_collector.verify.away import Away
from forebay_collector.verify.compare import Mark
from forebay_collector.verify.sides import as_described
from forebay_collector.verify.source import Ask
from forebay_wire.canonical import canonical_rows
from forebay_wire.schema import TableSchema
from forebay_wire.seal import parse_header
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

_LOOK_S: Final = 0.1
_DRAIN: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Following:
    """The `Flow` of one stream. load: for the platform to get what was received. Methods raise what `ask` raises, LoadStalled,
    NotKnown, and PlatformError."""

    ledger: Ledger
    platform: Platform
    stream: StreamName
    ask: Ask
    load: timedelta
    away: Away

    def mark(self) -> Mark:
        return need(self.ledger, self.stream).durable

    def settle(self) -> None:
        self.away.asked(lambda: drain(self.ask, self.stream))
        await_load(self.ledger, self.platform, self.stream, self.load)

    def told(self, after: Mark, keys: Collection[bytes]) -> set[bytes]:
        """As the platform's history tells, which has every batch before the mirror shows it."""
        if self.ledger.batches.snapshot_ended(self.stream, *after):
            return set(keys)
        schema = shown_schema(self.ledger, self.platform, self.stream)
        kinds = [schema.arrow.field(name).type for name in schema.key]
        wanted = pa.array(list(keys), pa.large_binary())
        found: set[bytes] = set()
        for rows in self.platform.read(self.stream, schema.key, since=PlatformMark(*after)):
            columns = [as_described(column, kind) for column, kind in zip(rows.columns, kinds, strict=True)]
            told = canonical_rows(columns)
            found.update(told.filter(pc.is_in(told, value_set=wanted)).to_pylist())
        return found


def drain(ask: Ask, stream: StreamName) -> None:
    """Has the agent capture and send what is committed now; returns when that is durable. Raises what `ask` raises."""
    asked = control_pb2.Drain(timeout_seconds=int(_DRAIN.total_seconds()), stream=stream.to_proto())
    for _ in ask(control_pb2.Command(drain=asked)):
        pass


def await_load(ledger: Ledger, platform: Platform, stream: StreamName, at_most: timedelta) -> None:
    """Returns when all that is durable now is loaded, and shown to readers. Raises LoadStalled, NotKnown, PlatformError."""
    target = need(ledger, stream).durable
    deadline = time.monotonic() + at_most.total_seconds()
    while (record := need(ledger, stream)).loaded < target or not _shows(ledger, platform, stream, target):
        if record.hold is not None:
            raise LoadStalled(
                f"stream {stream} is held at {record.hold.epoch}/{record.hold.seq}: {record.hold.code}: "
                f"{record.hold.reason}",
                remedy=remedy_of_hold(record.hold.code),
            )
        if time.monotonic() > deadline:
            waited = (
                f"stream {stream}: {target[0]}/{target[1]} is durable, but after {at_most.total_seconds():.0f} s only "
            )
            if record.loaded < target:
                raise LoadStalled(
                    f"{waited}{record.loaded_epoch}/{record.loaded_seq} is loaded",
                    remedy="Check that `forebay-collector serve` runs with the role load, and see its log.",
                )
            shown = platform.visible(stream)
            raise LoadStalled(
                f"{waited}{shown.epoch}/{shown.seq} is shown: the rest is loaded, and waits for the end of a snapshot or of "
                "a transaction",
                remedy="Verify again when the table's snapshot is complete; its agent's `status` shows how far it is.",
            )
        time.sleep(_LOOK_S)


def _shows(ledger: Ledger, platform: Platform, stream: StreamName, target: tuple[int, int]) -> bool:
    """Whether readers of the mirror see everything up to `target`, but for batches that were discarded."""
    shown = platform.visible(stream)
    return shown >= PlatformMark(*target) or (
        shown == platform.mark(stream) and not group.lost(ledger, need(ledger, stream), shown, GroupSize())
    )


def shown_schema(ledger: Ledger, platform: Platform, stream: StreamName) -> TableSchema:
    """The schema of the newest batch that readers of the mirror see. Raises NotKnown, NotPossible, PlatformError."""
    shown = platform.visible(stream)
    header = ledger.batches.header(stream, shown.epoch, shown.seq)
    if header is None:
        raise NotPossible(
            f"stream {stream}: the platform shows nothing of it yet", remedy="Wait until its first snapshot is loaded."
        )
    fingerprint = parse_header(header).schema_fingerprint
    content = ledger.schemas.schema(stream, fingerprint)
    if content is None:
        raise NotKnown(f"stream {stream}: the ledger does not hold the schema of batch {shown.epoch}/{shown.seq}")
    return TableSchema.parse(content, fingerprint)


def need(ledger: Ledger, stream: StreamName) -> StreamRecord:
    """Raises NotKnown."""
    record = ledger.streams.get(stream)
    if record is None:
        raise NotKnown(f"stream {stream} is not in the ledger")
    return record
