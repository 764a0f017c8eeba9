"""Tables in mode log on real servers: paused and resumed, narrowed by the centre, and ranges of keys taken anew on command."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forebay_agent.config.model import AgentConfig, MaskConfig, TableConfig
from forebay_agent.config.offer import Offer, laid_over
from forebay_agent.control.commands import Commands, Handler
from forebay_agent.control.pausing import Pausing
from forebay_agent.control.retaking import Retaking
from forebay_agent.pauses import Pauses, why_paused
from forebay_agent.source_worker import SourceWorker
from forebay_wire.v1 import control_pb2
from tests.capturing.source_stage import SourceStage, drop_slots


@pytest.fixture(params=["mysql", "postgresql"])
def log_harness(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each dialect with a log, on its real server."""
    harness = request.getfixturevalue(f"{request.param}_harness")
    yield harness
    if request.param == "postgresql":
        drop_slots(harness)


@pytest.fixture
def tables(log_harness: Any) -> tuple[TableConfig, TableConfig]:
    for name in "tu":
        log_harness.execute(
            f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, mobile VARCHAR(20), note VARCHAR(20))",
            f"INSERT INTO {name} VALUES (1, '13912345678', 'x1'), (2, '13812345678', 'x2')",
        )
    schema = log_harness.database if log_harness.kind == "mysql" else "public"
    return TableConfig(f"{schema}.t", mode="log"), TableConfig(f"{schema}.u", mode="log")


def paused(table: TableConfig) -> TableConfig:
    return replace(table, paused=True)


def epochs(stage: SourceStage) -> list[int]:
    return [stage.outbox.stream(stage.stream(table.name)).epoch for table in stage.tables]


def test_a_source_that_is_paused_as_a_whole_goes_on_where_it_was(
    log_harness: Any, tables: tuple[TableConfig, TableConfig], tmp_path: Path
) -> None:
    t, u = tables
    with SourceStage(log_harness, tmp_path / "s", t, u) as stage:
        stage.approve_all()
        stage.until(lambda: all(len(stage.mirror(table.name)) == 2 for table in tables))
        stage.restart(paused(t), paused(u))
        stage.approve_all()
        log_harness.execute("UPDATE t SET note = 'between' WHERE id = 1", "DELETE FROM u WHERE id = 1")
        log_harness.execute("UPDATE t SET note = 'after' WHERE id = 1")
        before = {table.name: len(stage.batches(table.name)) for table in tables}
        stage.rest(1.5)
        assert {table.name: len(stage.batches(table.name)) for table in tables} == before
        assert stage.state_of(t.name).state == "waiting"
        assert stage.state_of(t.name).log_bytes_behind > 0, "nobody looks how much waits"
        stage.restart(t, u)
        stage.approve_all()
        stage.until(lambda: sorted(stage.mirror(u.name)) == [2])
        stage.until(lambda: stage.mirror(t.name)[1]["note"] == "after")
        notes = [row["note"] for row in stage.rows(t.name) if row["_op"] == "u" and row["id"] == 1]
        assert notes == ["between", "after"]
        assert epochs(stage) == [1, 1]


def test_one_that_is_paused_beside_another_is_taken_anew_and_nothing_of_it_is_captured_meanwhile(
    log_harness: Any, tables: tuple[TableConfig, TableConfig], tmp_path: Path
) -> None:
    t, u = tables
    with SourceStage(log_harness, tmp_path / "s", t, u) as stage:
        stage.approve_all()
        stage.until(lambda: all(len(stage.mirror(table.name)) == 2 for table in tables))
        stage.restart(paused(t), u)
        stage.approve_all()
        log_harness.execute("DELETE FROM t WHERE id = 1", "INSERT INTO t VALUES (3, '13712345678', 'x3')")
        log_harness.execute("INSERT INTO u VALUES (3, '13712345678', 'x3')")
        stage.until(lambda: len(stage.mirror(u.name)) == 3)
        assert sorted(stage.mirror(t.name)) == [1, 2]
        stage.restart(t, u)
        stage.approve_all()
        stage.until(lambda: sorted(stage.mirror(t.name)) == [2, 3])
        log_harness.execute("DELETE FROM t WHERE id = 2")
        stage.until(lambda: sorted(stage.mirror(t.name)) == [3])
        assert epochs(stage) == [2, 1]


def test_what_the_centre_masks_and_leaves_out_is_so_in_all_that_is_sealed_from_then_on(
    log_harness: Any, tables: tuple[TableConfig, TableConfig], tmp_path: Path
) -> None:
    (t, _), table = tables, tables[0].name
    with SourceStage(log_harness, tmp_path / "s", t) as stage:
        stage.approve_all()
        stage.until(lambda: len(stage.mirror(table)) == 2)
        files = AgentConfig(tmp_path, tmp_path, sources=(stage.worker.config,))
        path = f'source.source.table."{table}"'
        offered = laid_over(files, Offer(1, {f"{path}.masks.mobile": "mobile", f"{path}.exclude": ["note"]}))
        (now,) = offered.sources[0].tables
        assert now.masks == (MaskConfig("mobile", "mobile"),)
        sealed = len(stage.batches(table))
        log_harness.execute("INSERT INTO t VALUES (3, '13712345678', 'x3')")  # in the log, not captured yet
        stage.restart(now)
        stage.approve_all()
        log_harness.execute("UPDATE t SET mobile = '13698765432' WHERE id = 1")
        expected = {1: "136****5432", 2: "138****5678", 3: "137****5678"}
        stage.until(lambda: {at: row["mobile"] for at, row in stage.mirror(table).items()} == expected)
        for batch, schema in stage.batches(table)[sealed:]:
            assert {column.name for column in schema.columns} == {"id", "mobile"}, batch.seq
        later = [row for row in stage.rows(table) if "note" not in row]
        assert {row["mobile"][3:7] for row in later} == {"****"}


class Asking:
    """Commands are answered in a thread of their own, while the test steps the source."""

    def __init__(self, stage: SourceStage) -> None:
        self._stage = stage
        pauses = Pauses(stage.state)
        stage.paused = lambda name: why_paused(pauses, (), name)

        def workers() -> list[SourceWorker]:
            return [stage.worker]

        pausing = Pausing(pauses, workers, stage.outbox, lambda: 1)
        more: dict[str, Handler] = {
            "take_snapshot": Retaking(stage.outbox, workers),
            "pause": pausing.pause,
            "resume": pausing.resume,
        }
        self._commands = Commands(stage.outbox, stage.board, workers, more)

    def __call__(self, **kind: Any) -> control_pb2.CommandResult:
        parts: list[control_pb2.CommandResult] = []
        command = control_pb2.Command(command_id="c1", **kind)
        thread = threading.Thread(target=self._commands.execute, args=(command, parts.append))
        thread.start()
        deadline = time.monotonic() + 20
        while thread.is_alive():
            assert time.monotonic() < deadline, "it is not answered"
            self._stage.worker.step()
        return parts[-1]


def test_a_column_that_is_captured_no_more_leaves_with_the_next_epoch(
    log_harness: Any, tables: tuple[TableConfig, TableConfig], tmp_path: Path
) -> None:
    t, u = tables
    with SourceStage(log_harness, tmp_path / "s", t, u) as stage:
        stage.approve_all()
        stage.until(lambda: all(len(stage.mirror(table.name)) == 2 for table in tables))
        stage.restart(replace(t, exclude=("note",)), u)
        stage.approve_all()
        log_harness.execute("UPDATE t SET mobile = '13000000000' WHERE id = 1")
        stage.until(lambda: stage.mirror(t.name).get(1, {}).get("mobile") == "13000000000")
        assert "note" not in stage.rows(t.name)[-1]
        narrowed, other = epochs(stage)
        assert narrowed > 1
        assert other == 1


def test_a_pause_says_what_becomes_of_the_changes_meanwhile_and_keeps_it(
    log_harness: Any, tables: tuple[TableConfig, TableConfig], tmp_path: Path
) -> None:
    t, u = tables
    with SourceStage(log_harness, tmp_path / "s", t, u) as stage:
        stage.approve_all()
        stage.until(lambda: all(len(stage.mirror(table.name)) == 2 for table in tables))
        ask = Asking(stage)
        one = control_pb2.Scope(stream=stage.stream(t.name).to_proto())
        answer = ask(pause=control_pb2.Pause(scope=one, reason="x"))
        assert f"goes on for its other tables: {t.name} will be taken anew" in answer.effect
        log_harness.execute("DELETE FROM t WHERE id = 1", "DELETE FROM u WHERE id = 1")
        stage.until(lambda: sorted(stage.mirror(u.name)) == [2])
        assert sorted(stage.mirror(t.name)) == [1, 2]
        assert "is resumed" in ask(resume=control_pb2.Resume(scope=one)).effect
        stage.until(lambda: sorted(stage.mirror(t.name)) == [2])
        assert epochs(stage) == [2, 1]
        answer = ask(pause=control_pb2.Pause(scope=control_pb2.Scope(source="source")))
        assert "waits where it was captured to: the database must keep it" in answer.effect
        log_harness.execute("DELETE FROM t WHERE id = 2", "DELETE FROM u WHERE id = 2")
        stage.rest()
        assert all(sorted(stage.mirror(table.name)) == [2] for table in tables)
        ask(resume=control_pb2.Resume(scope=control_pb2.Scope(source="source")))
        stage.until(lambda: all(stage.mirror(table.name) == {} for table in tables))
        assert epochs(stage) == [2, 1]


def test_a_column_that_is_approved_without_its_mask_waits_and_never_leaves_unmasked(
    log_harness: Any, tables: tuple[TableConfig, TableConfig], tmp_path: Path
) -> None:
    (t, _), table = tables, tables[0].name
    approved = table.replace(".", "_")
    with SourceStage(log_harness, tmp_path / "s", t) as stage:
        stage.approve(**{approved: ["id", "mobile", "note"]})
        stage.until(lambda: len(stage.mirror(table)) == 2)
        sealed = len(stage.batches(table))
        stage.restart(replace(t, masks=(MaskConfig("mobile", "mobile"),)))
        log_harness.execute("INSERT INTO t VALUES (3, '13712345678', 'x3')")
        stage.until(lambda: 3 in stage.mirror(table))
        assert stage.state_of(table).columns_waiting == ("mobile",)
        assert all("mobile" not in {c.name for c in schema.columns} for _, schema in stage.batches(table)[sealed:])
        stage.approve(**{approved: {"id": "", "mobile": "mobile", "note": ""}})
        stage.until(lambda: stage.mirror(table).get(1, {}).get("mobile") == "139****5678")
        assert stage.state_of(table).columns_waiting == ()


def test_a_range_of_keys_is_taken_anew_on_command(
    log_harness: Any, tables: tuple[TableConfig, TableConfig], tmp_path: Path
) -> None:
    (t, _), table = tables, tables[0].name
    log_harness.execute("INSERT INTO t VALUES (3, '13712345678', 'x3'), (40, '1', 'x40')")
    with SourceStage(log_harness, tmp_path / "s", t) as stage:
        stage.approve_all()
        stage.until(lambda: len(stage.mirror(table)) == 4)
        ask, stream = Asking(stage), stage.stream(table).to_proto()
        answer = ask(take_snapshot=control_pb2.TakeSnapshot(stream=stream, from_key="[2]", to_key='["3"]'))
        assert (answer.code, answer.epoch) == ("", 1), answer.reason
        assert "lies from 2 through 3" in answer.effect
        before = len(stage.rows(table))
        stage.until(lambda: [row["id"] for row in stage.rows(table)[before:]] == [2, 3])
        assert {row["_op"] for row in stage.rows(table)[before:]} == {"r"}
        for low, high, says in (
            ("2", "", "cannot be read"),
            ("[]", "", "cannot be read"),
            ("{", "", "cannot be read"),
            ('["x"]', "", "cannot be read"),
            ("[1.5]", "", "cannot be read"),
            ("[true]", "", "cannot be read"),
            ("[3]", "[2]", "ends before it begins"),
        ):
            answer = ask(take_snapshot=control_pb2.TakeSnapshot(stream=stream, from_key=low, to_key=high))
            assert (answer.code, says in answer.reason) == ("FB-COMMAND-UNFIT", True), (low, answer.reason)
        assert stage.outbox.range_requests(stage.stream(table).department, "source") == []


def test_ranges_of_texts_are_refused_before_anything_is_asked(log_harness: Any, tmp_path: Path) -> None:
    log_harness.execute("CREATE TABLE c (code VARCHAR(20) PRIMARY KEY, n INTEGER)", "INSERT INTO c VALUES ('a', 1)")
    schema = log_harness.database if log_harness.kind == "mysql" else "public"
    table = TableConfig(f"{schema}.c", mode="log")
    with SourceStage(log_harness, tmp_path / "s", table) as stage:
        stage.approve_all()
        stage.until(lambda: len(stage.mirror(table.name, "code")) == 1)
        asked = control_pb2.TakeSnapshot(stream=stage.stream(table.name).to_proto(), from_key='["a"]')
        answer = Asking(stage)(take_snapshot=asked)
        assert (answer.code, "ranges are of numbers, dates and times" in answer.reason) == ("FB-COMMAND-UNFIT", True)
