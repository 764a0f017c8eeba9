"""What the centre approves is captured, column by column, and nothing else: over real databases, in every mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forebay_agent.config.model import MaskConfig, TableConfig
from forebay_agent.outbox import Outbox
from tests.capturing.small_table import ALL, SOME, fill, image
from tests.capturing.source_stage import SourceStage
from tests.contract.harness import SourceHarness

MODES = ("snapshot", "cursor", "trigger")


def table_of(mode: str, **changes: Any) -> TableConfig:
    return TableConfig("t", mode=mode, cursor="n" if mode == "cursor" else "", install=mode == "trigger", **changes)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_captured_before_the_centre_has_said_so(
    source_harness: SourceHarness, tmp_path: Path, mode: str
) -> None:
    fill(source_harness)
    with SourceStage(source_harness, tmp_path / "s", table_of(mode, update_cycle="每日")) as stage:
        stage.rest()
        assert stage.batches("t") == []
        assert (stage.state_of("t").state, stage.code_of("t")) == ("waiting", "FB-NOT-APPROVED")
        trouble = stage.state_of("t").trouble
        assert trouble is not None
        assert "forebay-collector approvals" in trouble.remedy
        proposal = stage.proposal("t")
        assert [(column.name, column.mask) for column in proposal.columns] == [(name, "") for name in ALL]
        assert (proposal.mode, proposal.key, proposal.update_cycle) == (mode, ("id",), "每日")
        assert proposal.guarantee
        assert all(column.origin and column.type for column in proposal.columns)
        if mode == "trigger":
            with pytest.raises(Exception, match="forebay"):
                source_harness.rows("SELECT * FROM _forebay_changes_t")
        stage.approve(t=ALL)
        stage.until(lambda: stage.mirror("t") == {1: image(1, "a", "x1"), 2: image(2, "b", "x2")})
        stage.until(lambda: stage.state_of("t").state == "streaming")
        assert stage.code_of("t") == ""


@pytest.mark.parametrize("mode", MODES)
def test_a_column_that_is_not_approved_waits_while_the_rest_flows_and_is_filled_in_old_rows_when_it_is(
    source_harness: SourceHarness, tmp_path: Path, mode: str
) -> None:
    fill(source_harness)
    with SourceStage(source_harness, tmp_path / "s", table_of(mode)) as stage:
        stage.approve(t=SOME)
        stage.until(lambda: stage.mirror("t") == {1: image(1, "a"), 2: image(2, "b")})
        stage.until(lambda: stage.state_of("t").state == "streaming")
        assert stage.state_of("t").columns_waiting == ("extra",)
        assert list(stage.state_of("t").to_proto().columns_waiting) == ["extra"]
        assert all(columns == set(SOME) for columns in stage.columns_sealed("t"))
        source_harness.execute("INSERT INTO t VALUES (3, 'c', 3, 'x3')")
        if mode != "snapshot":
            stage.until(lambda: len(stage.mirror("t")) == 3)
        stage.approve(t=ALL)
        expected = {1: image(1, "a", "x1"), 2: image(2, "b", "x2"), 3: image(3, "c", "x3")}
        stage.until(lambda: stage.mirror("t") == expected)
        assert stage.state_of("t").columns_waiting == ()
        stage.rest()
        assert stage.mirror("t") == expected
        assert stage.outbox.stream(stage.stream("t")).epoch == 1


@pytest.mark.parametrize("mode", MODES)
def test_what_was_approved_holds_over_a_restart_without_the_centre(
    source_harness: SourceHarness, tmp_path: Path, mode: str
) -> None:
    fill(source_harness)
    with SourceStage(source_harness, tmp_path / "s", table_of(mode)) as stage:
        stage.approve(t=SOME)
        stage.step()
        stage.restart()
        stage.until(lambda: stage.mirror("t") == {1: image(1, "a"), 2: image(2, "b")})
        batches = len(stage.batches("t"))
        stage.restart()
        stage.rest()
        assert [batch.fields.snapshot_part.snapshot for batch, _ in stage.batches("t")[batches:]] in ([], [0]), (
            "the table was taken anew though nothing changed"
        )


def test_a_withdrawn_stream_stops_at_once_and_goes_on_when_it_is_approved_again(
    source_harness: SourceHarness, tmp_path: Path
) -> None:
    fill(source_harness)
    with SourceStage(source_harness, tmp_path / "s", table_of("trigger")) as stage:
        stage.approve(t=ALL)
        stage.until(lambda: len(stage.mirror("t")) == 2)
        stage.approve()
        source_harness.execute("INSERT INTO t VALUES (3, 'c', 3, 'x3')", "DELETE FROM t WHERE id = 1")
        stage.rest()
        assert sorted(stage.mirror("t")) == [1, 2]
        assert stage.code_of("t") == "FB-NOT-APPROVED"
        stage.approve(t=ALL)
        stage.until(lambda: stage.mirror("t") == {2: image(2, "b", "x2"), 3: image(3, "c", "x3")})


def test_a_withdrawn_column_is_captured_no_more_and_taken_anew_when_it_comes_back(
    source_harness: SourceHarness, tmp_path: Path
) -> None:
    fill(source_harness)
    with SourceStage(source_harness, tmp_path / "s", table_of("cursor")) as stage:
        stage.approve(t=ALL)
        stage.until(lambda: stage.mirror("t") == {1: image(1, "a", "x1"), 2: image(2, "b", "x2")})
        stage.approve(t=SOME)
        source_harness.execute("UPDATE t SET extra = 'y1', n = 3 WHERE id = 1")
        stage.until(lambda: stage.mirror("t")[1]["n"] == 3)
        assert stage.columns_sealed("t")[-1] == set(SOME)
        stage.approve(t=ALL)
        stage.until(lambda: stage.mirror("t")[1].get("extra") == "y1")
        assert stage.mirror("t")[2] == image(2, "b", "x2")


def test_a_withdrawal_ends_a_snapshot_at_the_piece_that_it_is_at(source_harness: SourceHarness, tmp_path: Path) -> None:
    source_harness.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")
    values = ", ".join(f"({number}, {number})" for number in range(1, 2_001))
    source_harness.execute(f"INSERT INTO t VALUES {values}")
    with SourceStage(source_harness, tmp_path / "s", table_of("snapshot"), batch_rows=10) as stage:
        stage.approve(t=["id", "n"])
        put = stage.outbox.put

        def put_then_withdraw(*arguments: Any, **more: Any) -> Any:
            record = put(*arguments, **more)
            if record.next_seq == 6:
                stage.approve()
            return record

        stage.outbox.put = put_then_withdraw  # type: ignore[method-assign]
        stage.until(lambda: len(stage.batches("t")) >= 5)
        stage.until(lambda: stage.code_of("t") == "FB-NOT-APPROVED")
        sealed = len(stage.batches("t"))
        assert sealed <= 8, "it went on after the approval was withdrawn"
        stage.rest()
        assert len(stage.batches("t")) == sealed
        stage.outbox.put = put  # type: ignore[method-assign]
        stage.approve(t=["id", "n"])
        stage.until(lambda: len(stage.mirror("t")) == 2_000, 60)


@pytest.mark.parametrize(("mode", "less"), [("snapshot", "id"), ("cursor", "n"), ("trigger", "id")])
def test_without_its_key_or_cursor_a_table_waits_as_a_whole(
    source_harness: SourceHarness, tmp_path: Path, mode: str, less: str
) -> None:
    fill(source_harness)
    with SourceStage(source_harness, tmp_path / "s", table_of(mode)) as stage:
        stage.approve(t=[name for name in ALL if name != less])
        stage.rest()
        trouble = stage.state_of("t").trouble
        assert trouble is not None
        assert trouble.code == "FB-NOT-APPROVED"
        assert f"key or cursor column {less} is not approved" in trouble.reason
        assert stage.batches("t") == []
        stage.approve(t=ALL)
        stage.until(lambda: len(stage.mirror("t")) == 2)


def test_a_mask_is_approved_with_its_column_and_another_mask_waits(
    source_harness: SourceHarness, tmp_path: Path
) -> None:
    fill(source_harness)
    clear, masked = table_of("cursor"), table_of("cursor", masks=(MaskConfig("v", "name"),))
    with SourceStage(source_harness, tmp_path / "s", clear) as stage:
        stage.approve(t={"id": "", "v": "name", "n": "", "extra": ""})
        stage.until(lambda: len(stage.mirror("t")) == 2)
        assert "v" not in stage.mirror("t")[1], "it left without the mask that it is approved with"
        assert stage.state_of("t").columns_waiting == ("v",)
        stage.restart(masked)
        stage.until(lambda: stage.mirror("t").get(1, {}).get("v") == "*")
        assert stage.proposal("t").columns[1].mask == "name"
        stage.approve(t=ALL)
        stage.until(lambda: stage.state_of("t").columns_waiting == ("v",))
        source_harness.execute("INSERT INTO t VALUES (3, 'ccc', 3, 'x3')")
        stage.until(lambda: 3 in stage.mirror("t"))
        assert "v" not in stage.columns_sealed("t")[-1]


def test_a_mask_that_becomes_another_masks_old_rows_too(source_harness: SourceHarness, tmp_path: Path) -> None:
    """All is approved automatically: the department alone decides for another mask."""
    fill(source_harness)
    with SourceStage(source_harness, tmp_path / "s", table_of("cursor")) as stage:
        stage.approve_all()
        stage.until(lambda: stage.mirror("t") == {1: image(1, "a", "x1"), 2: image(2, "b", "x2")})
        stage.restart(table_of("cursor", masks=(MaskConfig("extra", "name"),)))
        stage.until(lambda: {row["extra"] for row in stage.mirror("t").values()} == {"x*"})


def test_a_column_that_is_configured_later_is_filled_in_old_rows(source_harness: SourceHarness, tmp_path: Path) -> None:
    fill(source_harness)
    with SourceStage(source_harness, tmp_path / "s", table_of("cursor", exclude=("extra",))) as stage:
        stage.approve_all()
        stage.until(lambda: stage.mirror("t") == {1: image(1, "a"), 2: image(2, "b")})
        stage.restart(table_of("cursor"))
        stage.until(lambda: stage.mirror("t") == {1: image(1, "a", "x1"), 2: image(2, "b", "x2")})


@pytest.mark.parametrize("mode", MODES)
def test_a_column_that_the_table_is_given_waits_for_its_approval(
    source_harness: SourceHarness, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay_agent.approval.gate.LOOK_SECONDS", 0.2)
    fill(source_harness)
    with SourceStage(source_harness, tmp_path / "s", table_of(mode)) as stage:
        stage.approve(t=ALL)
        stage.until(lambda: len(stage.mirror("t")) == 2)
        source_harness.execute("ALTER TABLE t ADD COLUMN added VARCHAR(10)", "UPDATE t SET added = 'new', n = n + 10")
        stage.until(lambda: stage.state_of("t").columns_waiting == ("added",))
        assert [column.name for column in stage.proposal("t").columns] == [*ALL, "added"]
        stage.rest()
        assert all("added" not in columns for columns in stage.columns_sealed("t"))
        stage.approve(t=[*ALL, "added"])
        stage.until(lambda: [row.get("added") for row in stage.mirror("t").values()] == ["new", "new"])


def test_a_table_that_cannot_be_described_is_proposed_with_the_reason(
    source_harness: SourceHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay_agent.approval.gate.LOOK_SECONDS", 0.2)
    with SourceStage(source_harness, tmp_path / "s", table_of("snapshot")) as stage:
        stage.step()
        assert (stage.proposal("t").code, stage.proposal("t").columns) == ("FB-TABLE-MISSING", ())
        assert stage.proposal("t").reason
        fill(source_harness)
        stage.until(lambda: len(stage.proposal("t").columns) == 4)
        assert stage.proposal("t").code == ""


def test_a_database_that_cannot_be_reached_is_told_once_and_does_not_take_back_what_was_described(
    postgresql_harness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay_agent.approval.gate.LOOK_SECONDS", 0.1)
    fill(postgresql_harness)
    with SourceStage(postgresql_harness, tmp_path / "s", table_of("snapshot"), port=1) as stage:
        stage.step()
        assert stage.proposal("t").code == "FB-SOURCE-UNREACHABLE"
    with SourceStage(postgresql_harness, tmp_path / "s2", table_of("snapshot")) as stage:
        stage.step()
        described = stage.proposal("t")
        monkeypatch.setattr(stage.worker, "_opener", _unreachable)
        stage.worker._close_session()
        stage.rest()
        assert stage.proposal("t") == described


def _unreachable(_: object) -> Any:
    from forebay_agent.errors import SourceUnreachable

    raise SourceUnreachable("gone")


def test_an_outbox_of_before_goes_on_as_it_was(source_harness: SourceHarness, tmp_path: Path) -> None:
    """Checkpoints that say nothing of selections, as agents without approvals kept them."""
    fill(source_harness)
    with SourceStage(source_harness, tmp_path / "s", table_of("cursor")) as stage:
        stage.approve_all()
        stage.until(lambda: len(stage.mirror("t")) == 2)
        _forget_selection(stage.outbox, stage)
        stage.restart()
        stage.rest(0.3)
        assert {batch.fields.snapshot_part.snapshot for batch, _ in stage.batches("t")} <= {0, 1}
        _forget_selection(stage.outbox, stage, only="schema")
        stage.approve(t=ALL)
        stage.rest(0.3)
        stage.approve(t=SOME)
        stage.rest(0.3)
        stage.approve(t=ALL)
        stage.until(lambda: {batch.fields.snapshot_part.snapshot for batch, _ in stage.batches("t")} >= {2})
        stage.until(lambda: stage.mirror("t") == {1: image(1, "a", "x1"), 2: image(2, "b", "x2")})


def _forget_selection(outbox: Outbox, stage: SourceStage, only: str = "") -> None:
    from forebay_agent.pipeline import checkpoint_of

    record = outbox.stream(stage.stream("t"))
    forgotten = {only: ""} if only else {"selection": "", "schema": ""}
    outbox.put(record, [], checkpoint_of(record).advanced(**forgotten).to_json())
