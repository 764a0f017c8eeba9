"""What the centre approves is captured from a database's log, column by column, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay_agent.config.model import TableConfig
from tests.capturing.small_table import ALL, SOME, fill, image
from tests.capturing.source_stage import SourceStage, drop_slots


@pytest.fixture(params=["mysql", "postgresql"])
def log_harness(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each dialect with a log, on its real server."""
    harness = request.getfixturevalue(f"{request.param}_harness")
    yield harness
    if request.param == "postgresql":
        drop_slots(harness)


def logged(harness: Any, name: str = "t", **changes: Any) -> TableConfig:
    return TableConfig(f"{harness.database if harness.kind == 'mysql' else 'public'}.{name}", mode="log", **changes)


def test_a_column_waits_while_the_rest_flows_and_is_filled_in_old_rows_when_it_is_approved(
    log_harness: Any, tmp_path: Path
) -> None:
    fill(log_harness)
    table = logged(log_harness)
    with SourceStage(log_harness, tmp_path / "s", table) as stage:
        approved = table.name.replace(".", "_")
        stage.rest()
        assert stage.batches(table.name) == []
        if log_harness.kind == "postgresql":
            slots = log_harness.rows("SELECT 1 FROM pg_replication_slots WHERE database = current_database()")
            assert slots == [], "a slot was made before anything is approved"
        stage.approve(**{approved: SOME})
        stage.until(lambda: stage.mirror(table.name) == {1: image(1, "a"), 2: image(2, "b")})
        log_harness.execute("INSERT INTO t VALUES (3, 'c', 3, 'x3')", "UPDATE t SET extra = 'z2' WHERE id = 2")
        stage.until(lambda: 3 in stage.mirror(table.name))
        assert stage.state_of(table.name).columns_waiting == ("extra",)
        assert all(columns == set(SOME) for columns in stage.columns_sealed(table.name))
        stage.approve(**{approved: ALL})
        expected = {1: image(1, "a", "x1"), 2: image(2, "b", "z2"), 3: image(3, "c", "x3")}
        stage.until(lambda: stage.mirror(table.name) == expected)
        assert stage.outbox.stream(stage.stream(table.name)).epoch == 2
        log_harness.execute("DELETE FROM t WHERE id = 1")
        stage.until(lambda: sorted(stage.mirror(table.name)) == [2, 3])
        stage.restart()
        stage.rest()
        assert stage.outbox.stream(stage.stream(table.name)).epoch == 2


def test_a_column_that_the_table_is_given_waits_and_the_stream_goes_on_in_its_epoch(
    log_harness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay_agent.approval.gate.LOOK_SECONDS", 0.2)
    fill(log_harness)
    table = logged(log_harness)
    with SourceStage(log_harness, tmp_path / "s", table) as stage:
        approved = table.name.replace(".", "_")
        stage.approve(**{approved: ALL})
        stage.until(lambda: len(stage.mirror(table.name)) == 2)
        log_harness.execute(
            "ALTER TABLE t ADD COLUMN added VARCHAR(10)",
            "UPDATE t SET added = 'new', v = 'aa' WHERE id = 1",
            "INSERT INTO t VALUES (3, 'c', 3, 'x3', 'new')",
        )
        stage.until(lambda: stage.mirror(table.name).get(3) == image(3, "c", "x3"))
        stage.until(lambda: stage.state_of(table.name).columns_waiting == ("added",))
        assert stage.outbox.stream(stage.stream(table.name)).epoch == 1
        assert all("added" not in columns for columns in stage.columns_sealed(table.name))
        stage.approve(**{approved: [*ALL, "added"]})
        added = {1: "new", 2: None, 3: "new"}
        stage.until(lambda: {at: row.get("added", "") for at, row in stage.mirror(table.name).items()} == added)


def test_a_column_that_the_table_is_given_just_grows_where_all_is_approved(log_harness: Any, tmp_path: Path) -> None:
    fill(log_harness)
    table = logged(log_harness)
    with SourceStage(log_harness, tmp_path / "s", table) as stage:
        stage.approve_all()
        stage.until(lambda: len(stage.mirror(table.name)) == 2)
        log_harness.execute(
            "ALTER TABLE t ADD COLUMN added VARCHAR(10)", "INSERT INTO t VALUES (3, 'c', 3, 'x3', 'new')"
        )
        stage.until(lambda: stage.mirror(table.name).get(3, {}).get("added") == "new")
        stage.restart()
        stage.rest()
        assert stage.outbox.stream(stage.stream(table.name)).epoch == 1


def test_a_withdrawn_stream_stops_and_another_goes_on_and_it_is_taken_anew_when_it_comes_back(
    log_harness: Any, tmp_path: Path
) -> None:
    fill(log_harness)
    fill(log_harness, table="u")
    tables = logged(log_harness), logged(log_harness, "u")
    one, other = (table.name.replace(".", "_") for table in tables)
    with SourceStage(log_harness, tmp_path / "s", *tables) as stage:
        stage.approve(**{one: ALL, other: ALL})
        stage.until(lambda: all(len(stage.mirror(table.name)) == 2 for table in tables))
        stage.approve(**{other: ALL})
        stage.until(lambda: stage.code_of(tables[0].name) == "FB-NOT-APPROVED")
        log_harness.execute("INSERT INTO t VALUES (3, 'c', 3, 'x3')", "DELETE FROM t WHERE id = 1")
        log_harness.execute("INSERT INTO u VALUES (3, 'c', 3, 'x3')")
        stage.until(lambda: len(stage.mirror(tables[1].name)) == 3)
        assert sorted(stage.mirror(tables[0].name)) == [1, 2]
        stage.approve(**{one: ALL, other: ALL})
        stage.until(lambda: sorted(stage.mirror(tables[0].name)) == [2, 3])
        assert stage.outbox.stream(stage.stream(tables[0].name)).epoch == 2
        assert stage.outbox.stream(stage.stream(tables[1].name)).epoch == 1


def test_a_drain_ends_at_a_withdrawal(log_harness: Any, tmp_path: Path) -> None:
    fill(log_harness)
    table = logged(log_harness)
    approved = table.name.replace(".", "_")
    with SourceStage(log_harness, tmp_path / "s", table) as stage:
        stage.approve(**{approved: ALL})
        stage.until(lambda: len(stage.mirror(table.name)) == 2)
        put_log = stage.outbox.put_log

        def withdraw(*arguments: Any, **more: Any) -> None:
            put_log(*arguments, **more)
            stage.approve()

        stage.outbox.put_log = withdraw  # type: ignore[method-assign]
        log_harness.execute("INSERT INTO t VALUES (3, 'c', 3, 'x3')")
        stage.worker.drain(stage.worker._clock.monotonic() + 10)
        assert stage.code_of(table.name) == "FB-NOT-APPROVED"
        stage.outbox.put_log = put_log  # type: ignore[method-assign]
        log_harness.execute("INSERT INTO t VALUES (4, 'd', 4, 'x4')")
        stage.rest()
        assert 4 not in stage.mirror(table.name)
