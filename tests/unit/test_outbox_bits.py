"""A bit that the disk turns in the outbox is found and named when the row is read; it never passes for what was kept."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from forebay_agent.config.model import OutboxConfig
from forebay_agent.errors import AgentError, OutboxDamaged
from forebay_agent.outbox import LogRecord, Outbox, OutboxReader
from forebay_agent.outbox.records import StreamPut
from forebay_wire.seal import SealedBatch
from tests.custody.flips import flip_column, flip_file
from tests.receiving.batches import SCHEMA, STREAM, chained

CONFIG = OutboxConfig(free_disk=0)
COLUMNS = {
    "batch": ["stream", "epoch", "seq", "chain", "size", "header", "payload", "checksum"],
    "stream": ["department", "source", "name", "epoch", "next_seq", "chain", "checkpoint", "window_number", "checksum"],
    "log": ["department", "source", "checkpoint", "tables", "checksum"],
}


def kept(folder: Path, count: int = 8) -> list[SealedBatch]:
    outbox = Outbox.open(folder, CONFIG)
    try:
        before = outbox.stream(STREAM)
        batches = chained(count, text_bytes=2_000)
        for batch in batches[:-1]:
            before = outbox.put(before, [batch], f'{{"rows":{batch.seq * 3}}}', schema=SCHEMA)
        link = before.link.after(batches[-1])
        after = type(before)(
            before.id, STREAM, 1, link.seq, link.previous_chain, '{"rows":24}', before.window, before.hold
        )
        log = LogRecord("0-1-77", frozenset({STREAM.table}))
        puts = [StreamPut(before, after, batches[-1:], (SCHEMA,))]
        outbox.put_log(STREAM.department, STREAM.source, puts, log, open=False)
    finally:
        outbox.close()
    return batches


def read(folder: Path) -> list[SealedBatch]:
    """Everything that would be sent, in order, as it is read for that; raises as the uplink would end."""
    outbox = Outbox.open(folder, CONFIG)
    reader = OutboxReader(folder)
    try:
        found: list[SealedBatch] = []
        for record in reader.streams():
            after = (0, 0)
            while (batch := reader.next_batch(record.id, after)) is not None:
                found.append(batch)
                after = (batch.epoch, batch.seq)
            end, last = reader.end(record.id)
            if last is None or last.chain != end.chain:
                raise OutboxDamaged("it does not end where its stream does")
        return found
    finally:
        reader.close()
        outbox.close()


def naming(folder: Path, act: Callable[[], object]) -> str:
    with pytest.raises(OutboxDamaged) as damaged:
        act()
    return str(damaged.value)


@pytest.mark.parametrize("table", COLUMNS)
def test_a_bit_flipped_in_any_column_is_found_and_named(tmp_path: Path, table: str) -> None:
    chance = random.Random(table)
    batches = kept(tmp_path)
    assert read(tmp_path) == batches
    for column in COLUMNS[table] * 5:
        if (table, column) == ("batch", "stream"):
            continue  # SQLite itself refuses a stream that is not there; see below
        flip = flip_column(tmp_path / "outbox.db", table, column, chance)
        said = naming(tmp_path, lambda: read(tmp_path))
        if flip.batch is not None and column not in ("epoch", "seq"):
            assert f"epoch 1 seq {flip.batch[1]}" in said, flip
        elif table != "batch":
            assert table in said
        flip.undo()
    assert read(tmp_path) == batches


def test_a_batch_that_went_to_another_stream_is_missed(tmp_path: Path) -> None:
    kept(tmp_path)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection, connection:
        connection.execute("UPDATE batch SET stream = 9 WHERE seq = 8")
    assert "end" in naming(tmp_path, lambda: read(tmp_path))


def test_a_bit_flipped_anywhere_in_the_file_never_makes_another_batch(tmp_path: Path) -> None:
    """Of what no row stands in, nothing may be noticed; nothing else than what was kept is ever read."""
    chance = random.Random(11)
    batches = kept(tmp_path, 30)
    whole = {(batch.seq, batch.header, batch.payload) for batch in batches}
    path = tmp_path / "outbox.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    noticed = 0
    for _ in range(250):
        flip_file(path, chance.randrange(8 * len(content)))
        try:
            found = read(tmp_path)
        except AgentError:
            noticed += 1
        else:
            assert {(batch.seq, batch.header, batch.payload) for batch in found} == whole
        for piece in ("outbox.db-wal", "outbox.db-shm"):
            (tmp_path / piece).unlink(missing_ok=True)
        path.write_bytes(content)
    assert noticed > 50


def test_what_an_older_agent_writes_beside_is_not_taken_for_damage(tmp_path: Path) -> None:
    batches = kept(tmp_path)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection, connection:
        # as the version before checksums does it, still running on a file that was brought up to date
        connection.execute("UPDATE stream SET checkpoint = 'another' WHERE id = 1")
        connection.execute("UPDATE log SET checkpoint = '0-1-78'")
    assert read(tmp_path) == batches
