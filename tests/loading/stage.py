"""Everything from the archive to the platform, on disk in a folder; and a platform that fails when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from forebay_collector.archive import LocalArchive
from forebay_collector.archive.schemas import Kept, SchemaLog
from forebay_collector.founding import init
from forebay_collector.ledger import Arrival, BatchState, Ledger
from forebay_collector.load.group import GroupSize
from forebay_collector.load.loader import Loader
from forebay_collector.load.policy import Kind, LoadPolicy
from forebay_collector.platform.contract import OpenedBatch, Platform, PlatformMark, PlatformTable
from forebay_collector.platform.iceberg import IcebergPlatform
from forebay_collector.settings import Settings
from forebay_wire.part import WHOLE, Part
from forebay_wire.schema import TableSchema
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName
from tests.receiving.batches import SCHEMA

AT_ONCE = GroupSize(linger_s=0)
AGENT = "scjg-01"


class Stage:
    """A collector's data folder with everything in it open, but nothing running."""

    def __init__(self, folder: Path) -> None:
        self.settings: Settings = init(folder, ["127.0.0.1:7443"], "auto")
        data = self.settings.data
        self.ledger = Ledger.open(data.ledger)
        self.archive = LocalArchive(data.archive)
        self.schemas = SchemaLog(data.archive)
        self.platform = IcebergPlatform(data.platform)
        self.told: list[tuple[StreamName, int, int]] = []

    def receive(self, batches: Sequence[SealedBatch], schema: TableSchema = SCHEMA, agent: str = AGENT) -> None:
        """Makes the batches durable, as the receiving side does."""
        for batch in batches:
            self.schemas.append([Kept(batch.stream, schema.fingerprint, schema.serialized)])
            self.ledger.schemas.put_schema(batch.stream, schema.fingerprint, schema.serialized, agent=agent)
            self.archive.write(batch)
        self.archive.sync()
        self.ledger.batches.receive([Arrival(agent, batch.stream, batch) for batch in batches])

    def loader(
        self,
        platform: Platform | None = None,
        size: GroupSize = AT_ONCE,
        policies: dict[Kind, LoadPolicy] | None = None,
    ) -> Loader:
        def told(stream: StreamName, epoch: int, seq: int) -> None:
            self.told.append((stream, epoch, seq))

        more: dict[str, Any] = {"policies": policies} if policies else {}
        return Loader(self.ledger, self.archive, platform or self.platform, told, size=size, **more)

    def mirror(self, stream: StreamName) -> dict[int, str]:
        rows = (row for part in self.platform.read(stream) for row in part.to_pylist())
        return {row["id"]: row["text"] for row in rows}

    def history(self, stream: StreamName) -> list[tuple[int, int]]:
        """(seq, row) of every change in the history, as DuckDB reads it."""
        name = next(t.name for t in self.platform.tables() if t.stream == stream and t.kind == "changes")
        answer = self.platform.sql(f'select _seq, _row from "{name}" order by 1, 2').read_all()
        return list(zip(*(column.to_pylist() for column in answer.columns), strict=True))

    def states(self, stream: StreamName) -> dict[int, BatchState]:
        return {batch.seq: batch.state for batch in self.ledger.batches.listing(stream=stream)}

    def loaded(self, stream: StreamName) -> tuple[int, int]:
        record = self.ledger.streams.get(stream)
        assert record is not None
        return record.loaded

    def close(self) -> None:
        self.platform.close()
        self.archive.close()
        self.ledger.close()


class Moody:
    """A real platform in front of which a test puts its own fault: `refuses` gives the error for a batch, or None."""

    def __init__(self, platform: Platform, refuses: Callable[[OpenedBatch], Exception | None]) -> None:
        self.platform = platform
        self.refuses = refuses
        self.applied: list[list[int]] = []

    def apply(self, stream: StreamName, batches: Sequence[OpenedBatch]) -> PlatformMark:
        self.applied.append([batch.seq for batch in batches])
        for batch in batches:
            if (error := self.refuses(batch)) is not None:
                raise error
        return self.platform.apply(stream, batches)

    def mark(self, stream: StreamName) -> PlatformMark:
        return self.platform.mark(stream)

    def visible(self, stream: StreamName) -> PlatformMark:
        return self.platform.visible(stream)

    def maintain(self, stream: StreamName) -> bool:
        return self.platform.maintain(stream)

    def read(
        self,
        stream: StreamName,
        columns: Sequence[str] | None = None,
        *,
        part: Part = WHOLE,
        keys: Sequence[pa.Array] | None = None,
        since: PlatformMark | None = None,
    ) -> Iterator[pa.RecordBatch]:
        return self.platform.read(stream, columns, part=part, keys=keys, since=since)

    def tables(self) -> list[PlatformTable]:
        return self.platform.tables()

    def sql(self, query: str) -> pa.RecordBatchReader:
        return self.platform.sql(query)

    def close(self) -> None:
        self.platform.close()
