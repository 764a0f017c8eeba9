"""One table's pipeline: pieces are kept in order, and after one that could not be kept none is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from forebay_agent.capture.plan import describe, open_capture
from forebay_agent.clock import SystemClock
from forebay_agent.config.model import OutboxConfig, TableConfig
from forebay_agent.errors import OutboxFull
from forebay_agent.outbox import Outbox
from forebay_agent.pipeline import Opened, StreamPipeline, checkpoint_of
from forebay_agent.stream_state import Board
from forebay_agent.transform import Transform
from forebay_wire.schema import TableSchema
from forebay_wire.seal import open_batch
from forebay_wire.stream import StreamName
from tests.contract.harness import SourceHarness

NAME = StreamName("d", "s", "main.t")
NUMBERS = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1000) SELECT n, 'row ' || n FROM s"


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    state = tmp_path / "state"
    state.mkdir()
    opened = Outbox.open(state, OutboxConfig(free_disk=0))
    yield opened
    opened.close()


def pipeline_of(harness: SourceHarness, outbox: Outbox, sealer: ThreadPoolExecutor) -> StreamPipeline:
    source, table = harness.open(), TableConfig("t", mode="snapshot")
    shape = describe(source, table)
    opened = Opened(open_capture(source, shape, table, batch_rows=100), shape, lambda shape: Transform(shape, table))
    return StreamPipeline(NAME, opened, outbox, sealer, Board(), SystemClock())


@pytest.mark.parametrize("failing", [1, 2, 5, 10])
def test_after_a_piece_that_was_not_kept_no_later_one_is_and_the_next_step_goes_on_there(
    sqlite_harness: SourceHarness, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    sqlite_harness.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", f"INSERT INTO t {NUMBERS}")
    put, calls = outbox.put, 0

    def refusing(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OutboxFull
        return put(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(outbox, "put", refusing)
    with ThreadPoolExecutor(1) as sealer:
        pipeline = pipeline_of(sqlite_harness, outbox, sealer)
        with pytest.raises(OutboxFull):
            pipeline.step()
        assert calls == failing
        assert checkpoint_of(outbox.stream(NAME)).rows == (failing - 1) * 100
        while pipeline.step():
            pass
    reader = outbox.reader()
    number = outbox.stream(NAME).id
    batches = reader.waiting(number)
    told = []
    for each in batches:
        batch = reader.next_batch(number, (each.epoch, each.seq - 1))
        assert batch is not None
        fingerprint = batch.fields.schema_fingerprint
        schema = TableSchema.parse(reader.schema(fingerprint) or b"", fingerprint)
        told += open_batch(batch, schema).column("id").to_pylist()
    reader.close()
    assert [each.seq for each in batches] == list(range(1, len(batches) + 1))
    assert told == list(range(1, 1001))
