"""A polled table whose selection of columns narrows: the platform gets a new epoch, and the stream is not held."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from forebay_agent.capture.plan import describe
from forebay_agent.config.model import OutboxConfig, TableConfig
from forebay_agent.outbox import Outbox
from forebay_agent.taking_up import take_up
from forebay_agent.transform import Transform
from forebay_wire.stream import StreamName
from tests.contract.harness import SourceHarness
from tests.unit.test_stream_pipeline import NAME, NUMBERS, pipeline_of

WHOLE = TableConfig("t", mode="snapshot")


def taken_up(harness: SourceHarness, outbox: Outbox, name: StreamName, table: TableConfig) -> int:
    """-> the epoch that the stream then is in."""
    shape = describe(harness.open(), table)
    take_up(outbox, name, table, Transform(shape, table).schema)
    return outbox.stream(name).epoch


def test_fewer_columns_begin_the_next_epoch_once_and_the_same_columns_none(
    sqlite_harness: SourceHarness, tmp_path: Path
) -> None:
    sqlite_harness.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", f"INSERT INTO t {NUMBERS}")
    state = tmp_path / "state"
    state.mkdir()
    outbox = Outbox.open(state, OutboxConfig(free_disk=0))
    with ThreadPoolExecutor(1) as sealer:
        pipeline = pipeline_of(sqlite_harness, outbox, sealer)
        while pipeline.step():
            pass
    assert taken_up(sqlite_harness, outbox, NAME, WHOLE) == 1
    narrow = TableConfig("t", mode="snapshot", exclude=("name",))
    assert taken_up(sqlite_harness, outbox, NAME, narrow) == 2
    assert taken_up(sqlite_harness, outbox, NAME, narrow) == 2
    outbox.close()
