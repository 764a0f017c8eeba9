"""The agent's log capture over one test's database, as far as its outbox: it can be killed, and its batches be folded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from forebay_agent.capture.source import RowRange, TableName
from forebay_agent.clock import SystemClock
from forebay_agent.config.model import OutboxConfig, TableConfig
from forebay_agent.log.pipeline import LogPipeline
from forebay_agent.outbox import Outbox
from forebay_agent.stream_state import Board
from forebay_wire.digest import DigestAlgorithm
from forebay_wire.schema import TableSchema
from forebay_wire.seal import open_batch
from forebay_wire.stream import StreamName
from tests.contract.sources.postgresql import PostgreSQLHarness

Key = tuple[Any, ...]
Row = dict[str, Any]


class LogAgent:
    """One source's pipeline in mode log. chunk_rows: of a snapshot's first chunk."""

    def __init__(self, harness: PostgreSQLHarness, state: Path, *tables: TableConfig, chunk_rows: int = 50) -> None:
        self.harness = harness
        self.state = state
        self.tables = tables
        self.chunk_rows = chunk_rows
        self.executor = ThreadPoolExecutor(1)
        self.start()

    def start(self) -> None:
        config = replace(self.harness.config(slot=f"slot_{self.harness.database}"), linger=timedelta(milliseconds=10))
        self.source = self.harness.open(slot=config.slot)
        self.outbox = Outbox.open(self.state, OutboxConfig(free_disk=0))
        self.pipeline = LogPipeline(
            config,
            "d",
            [(self.name(table.name), table) for table in self.tables],
            lambda: self.source,
            self.outbox,
            self.executor,
            Board(),
            SystemClock(),
            DigestAlgorithm.SHA256,
        )
        self.pipeline._snapshots._pace.rows = self.chunk_rows

    def kill(self) -> None:
        """What is in flight is lost, or was just put."""
        self.pipeline.close()
        self.source.close()
        self.outbox.close()
        self.start()

    def drain(self, seconds: float = 30.0) -> None:
        self.pipeline.drain(time.monotonic() + seconds, lambda: False)

    def close(self) -> None:
        self.pipeline.close()
        self.source.close()
        self.outbox.close()
        self.executor.shutdown()

    def name(self, table: str) -> StreamName:
        return StreamName("d", "source", table)

    def mirror(self, table: str) -> dict[Key, Row]:
        """What the batches make, by key: the newest of each key within the newest epoch."""
        mirror: dict[Key, Row] = {}
        newest = 0
        for epoch, schema, rows in self._batches(table):
            if epoch != newest:
                mirror, newest = {}, epoch
            for row in rows:
                _fold(mirror, schema.key, row)
        return mirror

    def told(self, table: str) -> list[list[Any]]:
        """[op, values] of every row that the batches hold, in order."""
        rows = [row for _, _, rows in self._batches(table) for row in rows]
        return [[row["_op"], *(row[name] for name in row if not name.startswith("_"))] for row in rows]

    def _batches(self, table: str) -> Iterator[tuple[int, TableSchema, list[Row]]]:
        reader = self.outbox.reader()
        try:
            number, after = self.outbox.stream(self.name(table)).id, (0, 0)
            while (batch := reader.next_batch(number, after)) is not None:
                after = (batch.epoch, batch.seq)
                serialized = reader.schema(batch.fields.schema_fingerprint)
                assert serialized is not None
                schema = TableSchema.parse(serialized, batch.fields.schema_fingerprint)
                yield batch.epoch, schema, open_batch(batch, schema).to_pylist()
        finally:
            reader.close()

    def table(self, name: str) -> dict[Key, Row]:
        """The table, as the source reads it."""
        shape = self.source.shape(TableName.parse(name))
        rows = [row for batch in self.source.read(shape, RowRange(())) for row in batch.to_pylist()]
        return {tuple(row[key] for key in shape.key): row for row in rows}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _fold(mirror: dict[Key, Row], key: tuple[str, ...], row: Row) -> None:
    absent = row["_absent"] or ()
    image = {name: value for name, value in row.items() if not name.startswith("_") and name not in absent}
    at = tuple(image[name] for name in key)
    before = mirror.pop(at, {})
    if row["_op"] != "d":
        mirror[at] = {name: before[name] for name in absent if name in before} | image
