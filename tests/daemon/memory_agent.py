"""Log capture over a database in memory, step by step in this process, and the mirror of what it sealed."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from forebay_agent.capture.log import LogSource
from forebay_agent.clock import SystemClock
from forebay_agent.config.model import OutboxConfig, SourceConfig, TableConfig
from forebay_agent.log.pipeline import LogPipeline
from forebay_agent.outbox import Outbox
from forebay_agent.stream_state import Board
from forebay_wire.digest import DigestAlgorithm
from forebay_wire.schema import TableSchema
from forebay_wire.seal import open_batch
from forebay_wire.stream import StreamName
from tests.contract.sources.memory_log import MemoryDatabase, MemorySource

TABLES = ("t", "u")


class Agent:
    """One source's log capture that can be killed; `mirror` folds what the outbox shows."""

    def __init__(self, state: Path, database: MemoryDatabase, draw: random.Random, *tables: TableConfig) -> None:
        self.database = database
        self.draw = draw
        self.tables = tables or tuple(TableConfig(name, mode="log") for name in TABLES)
        self.state = state
        self.executor = ThreadPoolExecutor(1)
        self.start()

    def start(self) -> None:
        self.outbox = Outbox.open(self.state, OutboxConfig(free_disk=0))
        self.board = Board()
        config = SourceConfig("s", "mysql", "s.toml", linger=timedelta(0))
        source: LogSource = MemorySource(self.database, self.draw)
        self.pipeline = LogPipeline(
            config,
            "d",
            [(StreamName("d", "s", table.name), table) for table in self.tables],
            lambda: source,
            self.outbox,
            self.executor,
            self.board,
            SystemClock(),
            DigestAlgorithm.SHA256,
        )
        self.pipeline._snapshots._pace.rows = 3

    def kill(self) -> None:
        """What is in flight is lost, or was just put."""
        flying = self.pipeline._in_flight
        if flying is not None:
            flying.exception()
        self.outbox.close()
        self.start()

    def drain(self) -> None:
        import time

        self.pipeline.drain(time.monotonic() + 20, lambda: False)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Every row that the outbox shows, in order, with `_epoch`, `_snapshot` and `_last`."""
        reader = self.outbox.reader()
        try:
            number = self.outbox.stream(StreamName("d", "s", table)).id
            after, rows = (0, 0), []
            while (batch := reader.next_batch(number, after)) is not None:
                after = (batch.epoch, batch.seq)
                fields = batch.fields
                serialized = reader.schema(fields.schema_fingerprint)
                assert serialized is not None
                schema = TableSchema.parse(serialized, fields.schema_fingerprint)
                told = {"_epoch": batch.epoch, "_seq": batch.seq}
                rows += [row | told for row in open_batch(batch, schema).to_pylist()]
                rows.append(told | {"_op": "", "_part": fields.snapshot_part})
            return rows
        finally:
            reader.close()

    def mirror(self, table: str, key: tuple[str, ...] = ("id",)) -> dict[tuple[Any, ...], dict[str, Any]]:
        mirror: dict[tuple[Any, ...], dict[str, Any]] = {}
        since: dict[tuple[Any, ...], int] = {}
        epoch = 0
        for row in self.rows(table):
            if row["_epoch"] != epoch:
                mirror, epoch, since = {}, row["_epoch"], {}
            if not row["_op"]:
                part = row["_part"]
                if part.last and part.HasField("range"):
                    low, high = int(part.range.at_least or 0), int(part.range.through or 99)
                    gone = [at for at in mirror if low <= at[0] <= high and since[at] < part.first_seq]
                    mirror = {at: image for at, image in mirror.items() if at not in gone}
                continue
            image = {name: value for name, value in row.items() if not name.startswith("_")}
            at = tuple(image[name] for name in key)
            if row["_op"] == "d":
                mirror.pop(at, None)
                continue
            before = mirror.get(at, {})
            for name in row["_absent"] or ():
                image[name] = before.get(name)
            mirror[at], since[at] = image, row["_seq"]
        names = [column.name for column in self.database.tables[table].shape.columns]
        return {at: {name: row.get(name) for name in names} for at, row in mirror.items()}


def database_of(rows: int = 10) -> MemoryDatabase:
    database = MemoryDatabase()
    for name in TABLES:
        database.create(name, {"id": pa.int64(), "v": pa.string(), "large": pa.string()}, ("id",))
        database.commit(*((name, "c", {"id": n, "v": f"v{n}", "large": f"l{n}"}) for n in range(10, 10 + rows)))
    return database


def source_rows(database: MemoryDatabase, table: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    return dict(database.tables[table].rows)


def write(database: MemoryDatabase, draw: random.Random) -> None:
    """One transaction of random changes over both tables."""
    changes: list[tuple[str, str, dict[str, Any]]] = []
    touched = set()
    for _ in range(draw.choice((1, 1, 2, 5, 30))):
        name, key = draw.choice(TABLES), draw.randint(10, 40)
        if (name, key) in touched:
            continue
        touched.add((name, key))
        there = database.tables[name].rows.get((key,))
        if there is None:
            changes.append((name, "c", {"id": key, "v": str(draw.random()), "large": str(draw.random())}))
        elif draw.random() < 0.3:
            changes.append((name, "d", {"id": key}))
        else:
            large = there["large"] if draw.random() < 0.7 else str(draw.random())
            changes.append((name, "u", there | {"v": str(draw.random()), "large": large}))
    if changes:
        database.commit(*changes)
