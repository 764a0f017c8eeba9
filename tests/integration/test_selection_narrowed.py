"""A polled table that loses columns, by its selection or by itself: the platform gets a new epoch, and the stream is not held."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from forebay_agent.capture.plan import describe
from forebay_agent.config.model import OutboxConfig, TableConfig
from forebay_agent.outbox import Outbox
from forebay_agent.taking_up import take_up
from forebay_agent.transform import Transform
from forebay_wire.stream import StreamName
from tests.contract.dialects import DIALECTS
from tests.contract.harness import SourceHarness
from tests.unit.test_stream_pipeline import NAME, NUMBERS, pipeline_of

WHOLE = TableConfig("t", mode="snapshot")


def taken_up(harness: SourceHarness, outbox: Outbox, name: StreamName, table: TableConfig) -> int:
    """-> the epoch that the stream then is in."""
    shape = describe(harness.open(), table)
    take_up(outbox, name, table, Transform(shape, table).schema)
    return outbox.stream(name).epoch


def captured(harness: SourceHarness, folder: Path) -> Outbox:
    """All of `t`, in the first epoch."""
    state = folder / "state"
    state.mkdir()
    outbox = Outbox.open(state, OutboxConfig(free_disk=0))
    with ThreadPoolExecutor(1) as sealer:
        pipeline = pipeline_of(harness, outbox, sealer)
        while pipeline.step():
            pass
    return outbox


def test_fewer_columns_begin_the_next_epoch_once_and_the_same_columns_none(
    sqlite_harness: SourceHarness, tmp_path: Path
) -> None:
    sqlite_harness.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", f"INSERT INTO t {NUMBERS}")
    outbox = captured(sqlite_harness, tmp_path)
    assert taken_up(sqlite_harness, outbox, NAME, WHOLE) == 1
    narrow = TableConfig("t", mode="snapshot", exclude=("name",))
    assert taken_up(sqlite_harness, outbox, NAME, narrow) == 2
    assert taken_up(sqlite_harness, outbox, NAME, narrow) == 2
    outbox.close()


def test_what_the_table_lost_while_nobody_looked_begins_the_next_epoch_once(
    source_harness: SourceHarness, tmp_path: Path
) -> None:
    integer = DIALECTS[source_harness.kind].integer
    source_harness.execute(
        f"CREATE TABLE t (id {integer} PRIMARY KEY, a {integer}, b {integer})", "INSERT INTO t VALUES (1, 2, 3)"
    )
    outbox = captured(source_harness, tmp_path)
    source_harness.execute(f"ALTER TABLE t ADD COLUMN c {integer}")
    assert taken_up(source_harness, outbox, NAME, WHOLE) == 1, "what it was given is followed"
    source_harness.execute("ALTER TABLE t DROP COLUMN a")
    assert taken_up(source_harness, outbox, NAME, WHOLE) == 2
    assert taken_up(source_harness, outbox, NAME, WHOLE) == 2
    outbox.close()


def test_another_key_begins_the_next_epoch(sqlite_harness: SourceHarness, tmp_path: Path) -> None:
    sqlite_harness.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL UNIQUE)", "INSERT INTO t VALUES (1, 2)"
    )
    outbox = captured(sqlite_harness, tmp_path)
    assert taken_up(sqlite_harness, outbox, NAME, WHOLE) == 1
    assert taken_up(sqlite_harness, outbox, NAME, replace(WHOLE, key=("a",))) == 2
    outbox.close()
