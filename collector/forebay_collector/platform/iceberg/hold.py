"""Whether the mirror may be shown: how far it has come, and what is under way.

While it may not, loads go to the table's branch `AHEAD`, whose snapshots readers do not see; `main` stays. The commit
that makes the mirror whole again moves `main` to the result and drops the branch. Everything that decides about it
stands in the table's property `forebay.ahead`, set in the same commit:

    {stream: {"epoch", "seq"           the branch's own mark
              "building"               the snapshot of an epoch above 1 has not ended
              "open"                   the last batch does not end its transaction
              "range"                  the number of the ranged snapshot that has not ended; 0: none
              "base"                   the snapshot of main that the branch goes on from, 0 when main had none;
                                       null: the branch began from nothing
              "schema"                 the id of its schema, of which it may have no snapshot yet
              "key"                    the key's columns}}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from forebay_collector.platform.contract import OpenedBatch, PlatformMark
from forebay_collector.platform.iceberg import marks
from forebay_wire.stream import StreamName

AHEAD: Final = "forebay-ahead"
NOT_HELD: Final = "{}"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a mirror stands after everything up to `mark`. ranged: the ranged snapshot that has not ended, 0 for none."""

    mark: PlatformMark = field(default_factory=PlatformMark)
    building: bool = False
    open: bool = False
    ranged: int = 0

    @property
    def whole(self) -> bool:
        """Whether readers may see it."""
        return not (self.building or self.open or self.ranged)

    def after(self, batch: OpenedBatch) -> Progress:
        """One batch further; of an older epoch nothing is left under way."""
        building, ranged = self.building, self.ranged
        if begins(self.mark, batch):
            building, ranged = batch.epoch > 1, 0
        if batch.snapshot and batch.key_range is not None:
            ranged = 0 if batch.last_of_snapshot else batch.snapshot
        elif batch.last_of_snapshot:
            building = False
        return Progress(PlatformMark(batch.epoch, batch.seq), building, not batch.ends_transaction, ranged)


@dataclass(frozen=True, slots=True)
class Held:
    """What the branch holds. base: the snapshot of main that it goes on from (0: main had none); None: it began from
    nothing, and will replace all that main has."""

    progress: Progress
    base: int | None
    schema_id: int
    key: tuple[str, ...]

    def told(self, stream: StreamName) -> str:
        """The property's value."""
        here = self.progress
        content = {
            "epoch": here.mark.epoch,
            "seq": here.mark.seq,
            "building": here.building,
            "open": here.open,
            "range": here.ranged,
            "base": self.base,
            "schema": self.schema_id,
            "key": list(self.key),
        }
        return json.dumps({str(stream): content}, ensure_ascii=False)


def key_of(properties: Mapping[str, str]) -> tuple[str, ...]:
    """The key's columns of what a mirror's branch holds."""
    held = json.loads(properties.get(marks.AHEAD, NOT_HELD))
    return tuple(name for content in held.values() for name in content["key"])


def held_of(properties: Mapping[str, str], stream: StreamName) -> Held | None:
    """What the mirror's branch holds; None when everything is shown."""
    content = json.loads(properties.get(marks.AHEAD, NOT_HELD)).get(str(stream))
    if content is None:
        return None
    mark = PlatformMark(content["epoch"], content["seq"])
    progress = Progress(mark, content["building"], content["open"], content["range"])
    return Held(progress, content["base"], content["schema"], tuple(content["key"]))


def progress_of(properties: Mapping[str, str], stream: StreamName) -> Progress:
    """How far a mirror has come, shown or not."""
    held = held_of(properties, stream)
    return held.progress if held is not None else Progress(marks.mark_of(properties, stream))


def begins(mark: PlatformMark, batch: OpenedBatch) -> bool:
    """Whether the batch is the first of its epoch after this mark."""
    return batch.epoch > mark.epoch


def parts(progress: Progress, batches: Sequence[OpenedBatch]) -> Iterator[list[OpenedBatch]]:
    """What one commit takes, of batches that follow `progress` (those at or below its mark go with what comes next).

    A part is of one epoch. It ends where a range's snapshot does, since what comes next must not see the rows that left
    (absent columns would), and at the last batch after which the mirror may be shown.
    """
    part: list[OpenedBatch] = []
    shown = 0  # so many of the part may be shown
    for batch in batches:
        if part and batch.epoch != part[-1].epoch:
            yield from _cut(part, shown)
            part, shown = [], 0
        part.append(batch)
        if PlatformMark(batch.epoch, batch.seq) > progress.mark:
            progress = progress.after(batch)
        if progress.whole:
            shown = len(part)
        if batch.key_range is not None and batch.last_of_snapshot:
            yield from _cut(part, shown)
            part, shown = [], 0
    yield from _cut(part, shown)


def _cut(part: list[OpenedBatch], shown: int) -> Iterator[list[OpenedBatch]]:
    for piece in (part[:shown], part[shown:]):
        if piece:
            yield piece
