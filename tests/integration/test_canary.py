"""The canary of a source: made at real databases, by each way that they permit, and told once it is loaded."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forebay_agent.check.canaries import check_canary
from forebay_agent.config.model import CanaryConfig, TableConfig
from forebay_agent.outbox import Hold
from forebay_wire import canary
from forebay_wire.v1 import control_pb2
from tests.capturing.source_stage import DEPARTMENT, SourceStage, drop_slots
from tests.contract.harness import SourceHarness

SOON = timedelta(milliseconds=200)
CANARY = canary.TABLE
IN_LOG = TableConfig("public.t", mode="log")
POLLED = TableConfig("t", mode="snapshot")


def state(stage: SourceStage) -> control_pb2.CanaryState:
    return stage.worker.canary.state


def made(stage: SourceStage) -> list[dict[str, Any]]:
    return stage.rows(CANARY)


def durable(stage: SourceStage) -> None:
    """The uplink has heard that the centre has everything."""
    record = stage.outbox.stream(stage.stream(CANARY))
    stage.board.update(stage.stream(CANARY), epoch=record.epoch, durable=record.last)


def loaded(stage: SourceStage) -> None:
    durable(stage)
    record = stage.outbox.stream(stage.stream(CANARY))
    now_us = stage.worker._clock.now_us()
    stage.board.update(stage.stream(CANARY), loaded=record.last, loaded_at_us=now_us)


@pytest.fixture
def harness(source_harness: SourceHarness) -> SourceHarness:
    source_harness.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v VARCHAR(20))")
    return source_harness


def test_the_sources_clock_is_asked_and_the_round_trip_told_once_it_is_loaded(
    harness: SourceHarness, tmp_path: Path
) -> None:
    with SourceStage(harness, tmp_path / "s", POLLED, canary=CanaryConfig("auto", SOON)) as stage:
        stage.until(lambda: len(made(stage)) == 1)
        assert (state(stage).kind, state(stage).loaded_at_us, state(stage).code) == ("read", 0, "")
        (row,) = made(stage)
        assert (row["id"], row["kind"], row["_op"]) == ("source", "read", "r")
        assert int(row["made_at"].timestamp() * 1_000_000) == state(stage).made_at_us
        loaded(stage)
        stage.until(lambda: state(stage).loaded_at_us > 0)
        assert 0 < state(stage).round_trip_us < 20_000_000
        stage.until(lambda: len(made(stage)) == 2)
        assert made(stage)[1]["_op"] == "u"
        assert [batch.fields.snapshot_part.last for batch, _ in stage.batches(CANARY)] == [True, False]
        assert all(canary.is_canary(batch.stream, schema) for batch, schema in stage.batches(CANARY))
        assert stage.board.all() == [stage.state_of("t")], "it is told by itself, not among the department's streams"


def test_it_needs_no_approval_and_brings_none(harness: SourceHarness, tmp_path: Path) -> None:
    harness.execute("INSERT INTO t VALUES (1, 'a')")
    with SourceStage(harness, tmp_path / "s", POLLED, canary=CanaryConfig("auto", SOON)) as stage:
        stage.until(lambda: len(made(stage)) == 1)
        assert stage.code_of("t") == "FB-NOT-APPROVED"
        assert stage.rows("t") == []
        assert stage.proposals.of(stage.stream(CANARY)) is None


def test_while_the_centre_is_away_the_outbox_holds_one(harness: SourceHarness, tmp_path: Path) -> None:
    with SourceStage(harness, tmp_path / "s", POLLED, canary=CanaryConfig("auto", SOON)) as stage:
        stage.until(lambda: len(made(stage)) == 1)
        stage.rest(1.0)
        assert len(made(stage)) == 1
        assert "has not reached the centre" in state(stage).reason
        stage.restart()
        stage.rest(0.8)
        assert len(made(stage)) == 1
        durable(stage)
        stage.until(lambda: len(made(stage)) == 2)
        assert state(stage).reason == ""


def test_off_costs_nothing(harness: SourceHarness, tmp_path: Path) -> None:
    with SourceStage(harness, tmp_path / "s", POLLED) as stage:
        stage.rest(0.5)
        assert [record.name.table for record in stage.outbox.reader().streams() if record.name.table == CANARY] == []


def test_a_row_is_written_and_read_back_where_a_table_is_made_for_it(harness: SourceHarness, tmp_path: Path) -> None:
    harness.execute("CREATE TABLE alive (id VARCHAR(255) PRIMARY KEY, made_at BIGINT NOT NULL)")
    with SourceStage(harness, tmp_path / "s", POLLED, canary=CanaryConfig("auto", SOON, "alive")) as stage:
        stage.until(lambda: len(made(stage)) == 1)
        assert state(stage).kind == "row"
        assert harness.rows("SELECT id, made_at FROM alive") == [(f"{DEPARTMENT}/source", state(stage).made_at_us)]
        durable(stage)
        stage.until(lambda: len(made(stage)) == 2)
        assert harness.rows("SELECT made_at FROM alive") == [(state(stage).made_at_us,)]


def test_a_table_that_is_not_there_is_told_with_the_sql_that_makes_it(harness: SourceHarness, tmp_path: Path) -> None:
    with SourceStage(harness, tmp_path / "s", POLLED, canary=CanaryConfig("row", SOON, "alive")) as stage:
        stage.until(lambda: state(stage).code == "FB-TABLE-MISSING")
        assert "CREATE TABLE" in state(stage).reason
        stage.rest(0.5)
        assert made(stage) == []
        statement = state(stage).reason.partition("SQL: ")[2]
        harness.execute(statement)
        stage.until(lambda: len(made(stage)) == 1)
        assert state(stage).code == ""


def test_a_privilege_that_lacks_is_told_with_its_grant(
    postgresql_harness: Any, mysql_harness: Any, tmp_path: Path
) -> None:
    for harness in (postgresql_harness, mysql_harness):
        harness.execute(
            "CREATE TABLE t (id INTEGER PRIMARY KEY)",
            "CREATE TABLE alive (id VARCHAR(255) PRIMARY KEY, made_at BIGINT NOT NULL)",
        )
        where = f"{harness.database}.t" if harness.kind == "mysql" else "t"
        reader = harness.reader(f"SELECT ON {where}")
        config = CanaryConfig("row", SOON, "alive")
        with SourceStage(harness, tmp_path / harness.kind, POLLED, canary=config, **reader) as stage:
            stage.until(lambda stage=stage: state(stage).code == "FB-SOURCE-PRIVILEGE")  # type: ignore[misc]
            assert "GRANT SELECT, INSERT, UPDATE ON" in state(stage).reason
            grant = state(stage).reason.partition("SQL: ")[2]
            harness.execute(grant)
            stage.until(lambda stage=stage: len(made(stage)) == 1)  # type: ignore[misc]


def test_where_collector_and_outbox_do_not_fit_it_begins_anew_by_itself(harness: SourceHarness, tmp_path: Path) -> None:
    with SourceStage(harness, tmp_path / "s", POLLED, canary=CanaryConfig("auto", SOON)) as stage:
        stage.until(lambda: len(made(stage)) == 1)
        number = stage.outbox.stream(stage.stream(CANARY)).id
        stage.outbox.hold(number, Hold("FB-STATE-LOST", "the collector holds epoch 3 seq 9", 3, 9, b"\x05" * 32))
        stage.until(lambda: [batch.epoch for batch, _ in stage.batches(CANARY)] == [4])
        batch = stage.batches(CANARY)[0][0]
        assert (batch.seq, batch.fields.previous_chain) == (1, b"\x05" * 32)


# ---- mode log


def test_a_message_comes_back_through_postgresqls_log(postgresql_harness: Any, tmp_path: Path) -> None:
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')")
    with SourceStage(postgresql_harness, tmp_path / "s", IN_LOG, canary=CanaryConfig("auto", SOON)) as stage:
        stage.approve(public_t=["id", "v"])
        stage.until(lambda: len(made(stage)) == 1 and len(stage.rows("public.t")) == 1)
        assert state(stage).kind == "message"
        postgresql_harness.execute(
            "SELECT pg_logical_emit_message(true, 'another', 'not ours')",
            "SELECT pg_logical_emit_message(false, 'forebay.canary', 'of somebody else')",
            r"SELECT pg_logical_emit_message(true, 'forebay.canary', '\xff00'::bytea)",
            "INSERT INTO t VALUES (2, 'b')",
        )
        durable(stage)
        stage.until(lambda: len(made(stage)) == 2 and len(stage.rows("public.t")) == 2)
        assert state(stage).code == ""
    drop_slots(postgresql_harness)


def test_a_message_that_the_log_does_not_give_back_is_no_sign_of_life(postgresql_harness: Any, tmp_path: Path) -> None:
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    with SourceStage(postgresql_harness, tmp_path / "s", IN_LOG, canary=CanaryConfig("auto", SOON)) as stage:
        stage.approve(public_t=["id", "v"])
        stage.until(lambda: len(made(stage)) == 1)
        durable(stage)
        log = stage.worker.log
        assert log is not None
        log.heard = lambda _: None  # the log is read, but not to where the message stands
        stage.until(lambda: state(stage).made_at_us > 0 and "the log has not come" in state(stage).reason)
        assert len(made(stage)) == 1
        log.heard = stage.worker.canary.heard
    drop_slots(postgresql_harness)


def test_a_row_in_mode_log_waits_until_the_log_came_past_it(mysql_harness: Any, tmp_path: Path) -> None:
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "CREATE TABLE alive (id VARCHAR(255) PRIMARY KEY, made_at BIGINT NOT NULL)",
    )
    table = TableConfig(f"{mysql_harness.database}.t", mode="log")
    config = CanaryConfig("row", SOON, f"{mysql_harness.database}.alive")
    with SourceStage(mysql_harness, tmp_path / "s", table, canary=config) as stage:
        stage.approve_all()
        stage.until(lambda: len(made(stage)) == 1)
        assert state(stage).kind == "row"
        durable(stage)
        stage.until(lambda: len(made(stage)) == 2)


def test_without_rights_in_mode_log_the_log_has_to_come_to_its_end_of_then(mysql_harness: Any, tmp_path: Path) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    table = TableConfig(f"{mysql_harness.database}.t", mode="log")
    with SourceStage(mysql_harness, tmp_path / "s", table, canary=CanaryConfig("auto", SOON)) as stage:
        stage.approve_all()
        stage.until(lambda: len(made(stage)) == 1)
        assert state(stage).kind == "read"
        log = stage.worker.log
        assert log is not None
        durable(stage)
        reached = log.reached
        log.reached = lambda checkpoint: False  # type: ignore[method-assign]
        stage.until(lambda: "the log has not come" in state(stage).reason)
        assert len(made(stage)) == 1
        log.reached = reached  # type: ignore[method-assign]
        stage.until(lambda: len(made(stage)) == 2)


# ---- check


def test_check_says_whether_the_canary_can_be_made_and_writes_nothing(harness: SourceHarness) -> None:
    def checked(config: CanaryConfig) -> tuple[str, str, str]:
        (found,) = check_canary(harness.config(canary=config), harness.open())
        return found.severity, found.key, found.message

    assert checked(CanaryConfig("auto"))[0] == "ok"
    assert checked(CanaryConfig("off"))[0] == "note"
    assert checked(CanaryConfig("row", table="alive"))[:2] == ("error", "canary.table")
    harness.execute("CREATE TABLE alive (id VARCHAR(255) PRIMARY KEY, at BIGINT NOT NULL)")
    severity, key, message = checked(CanaryConfig("row", table="alive"))
    assert (severity, key) == ("error", "canary.table")
    assert "made_at" in message
    harness.execute("DROP TABLE alive", "CREATE TABLE alive (id VARCHAR(255) PRIMARY KEY, made_at BIGINT NOT NULL)")
    assert checked(CanaryConfig("row", table="alive"))[0] == "ok"
    assert harness.rows("SELECT * FROM alive") == []
    assert checked(CanaryConfig("message"))[0] == ("ok" if harness.kind == "postgresql" else "error")
