"""A polled table that is altered while it is captured: it goes on under the next epoch by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay_agent import source_worker
from forebay_agent.config.model import TableConfig
from tests.capturing.source_stage import SourceStage
from tests.contract.dialects import DIALECTS
from tests.contract.harness import SourceHarness

TABLE = TableConfig("t", mode="cursor", cursor="id", unique_cursor=True)


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is down"])
def test_a_dropped_column_takes_the_table_anew_under_the_next_epoch(
    source_harness: SourceHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: bool
) -> None:
    monkeypatch.setattr(source_worker, "HELD_SECONDS", 600.0)  # it is not a person who mends this
    integer = DIALECTS[source_harness.kind].integer
    source_harness.execute(
        f"CREATE TABLE t (id {integer} PRIMARY KEY, a {integer}, b {integer})", "INSERT INTO t VALUES (1, 2, 3)"
    )
    with SourceStage(source_harness, tmp_path / "state", TABLE) as stage:
        stage.approve_all()
        stage.until(lambda: len(stage.rows("t")) == 1)
        if not running:
            stage.stop()
        source_harness.execute("ALTER TABLE t DROP COLUMN a", "INSERT INTO t VALUES (2, 4)")
        if not running:
            stage.start()
            stage.approve_all()
        stage.until(lambda: stage.outbox.stream(stage.stream("t")).epoch == 2 and set(stage.mirror("t")) == {1, 2})
        stage.until(lambda: stage.code_of("t") == "")
        sealed = {batch.epoch: {column.name for column in schema.columns} for batch, schema in stage.batches("t")}
    assert sealed == {1: {"id", "a", "b"}, 2: {"id", "b"}}
