"""For any row of the platform: its source, position and commit time, its batch, and every hand that it passed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from forebay_collector.archive import names
from forebay_collector.custody.trace import Trace
from forebay_collector.errors import NotKnown, NotPossible
from forebay_collector.load import quarantine
from forebay_collector.platform.contract import OpenedBatch, PlatformError
from forebay_collector.service import custody
from forebay_collector.service.actor import Actor, Role
from forebay_wire.seal import seal
from tests.custody.flips import flip_file
from tests.loading.stage import AGENT, Moody, Stage
from tests.receiving.batches import FIRST, SCHEMA, STREAM, chained, rows

SOMEONE = Actor.local("someone")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    opened = Stage(tmp_path / "collector")
    yield opened
    opened.close()


def traced(stage: Stage, actor: Actor = SOMEONE, place: tuple[int, int, int] | None = None, **where: str) -> Trace:
    return custody.trace(stage.ledger, stage.archive, stage.platform, actor, STREAM, where, place)


def load(stage: Stage) -> None:
    while stage.loader().load_step(STREAM):
        pass


def test_a_row_tells_its_position_its_batch_and_every_hand_in_order(stage: Stage) -> None:
    stage.receive(chained(3))
    load(stage)
    found = traced(stage, id="7")
    assert (found.present, found.found, dict(found.key)) == (True, 1, {"id": "7"})
    (version,) = found.versions
    assert (version.op, version.position, version.at, version.custody) == ("c", f"{7:012d}", (1, 2, 1), "whole")
    batch = stage.ledger.batches.get(STREAM, 1, 2)
    assert batch is not None
    assert [(hand.who, hand.at) for hand in version.hands] == [
        (AGENT, batch.captured_at),
        ("collector", batch.received_at),
        ("loader", batch.loaded_at),
    ]
    assert version.hands[-1].detail == "with 1/1 to 1/3"
    assert traced(stage, place=(1, 2, 1)) == found


def test_earlier_versions_are_told_and_a_deleted_row_too(stage: Stage) -> None:
    first, link = chained(1)[0], FIRST
    link = link.after(first)
    stage.receive([first])
    for op in ("u", "d"):
        content = rows(3, 1, seed=len(op))
        content = content.set_column(content.schema.get_field_index("_op"), "_op", pa.array([op]))
        batch = seal(STREAM, link, SCHEMA, content.cast(SCHEMA.arrow), captured_at_us=1_700_000_000_000_000)
        link = link.after(batch)
        stage.receive([batch], agent="scjg-02")
    load(stage)
    found = traced(stage, id="3")
    assert not found.present
    assert [(one.op, one.at[1], one.hands[0].who) for one in found.versions] == [
        ("d", 3, "scjg-02"),
        ("u", 2, "scjg-02"),
        ("c", 1, AGENT),
    ]


def test_quarantine_and_who_replayed_it_and_why_are_among_the_hands(stage: Stage) -> None:
    refuses = [True]

    def refuse(batch: OpenedBatch) -> Exception | None:
        return PlatformError("does not fit", code="FB-TEST", permanent=True) if refuses and batch.seq == 1 else None

    stage.receive(chained(1))
    loader = stage.loader(Moody(stage.platform, refuse))
    loader.load_step(STREAM)
    refuses.clear()
    quarantine.replay(stage.ledger, STREAM, None, who="王敏", why="the column was widened")
    load(stage)
    (version,) = traced(stage, id="3").versions
    assert [(hand.what, hand.who) for hand in version.hands[2:]] == [
        ("quarantine", "loader"),
        ("replay", "王敏"),
        ("loaded", "loader"),
    ]
    assert version.hands[3].detail == "the column was widened"


def test_what_is_wrong_with_its_batch_is_told(stage: Stage) -> None:
    stage.receive(chained(1))
    load(stage)
    flip_file(stage.archive.root / names.batch_file(STREAM, 1, 1), 800)
    assert "altered in the archive" in traced(stage, id="3").versions[0].custody


def test_a_row_that_is_not_there_one_that_is_not_named_and_another_departments_are_refused(stage: Stage) -> None:
    stage.receive(chained(1))
    load(stage)
    with pytest.raises(NotKnown):
        traced(stage, id="99")
    with pytest.raises(NotKnown):
        traced(stage, nothing="99")
    with pytest.raises(NotKnown):
        traced(stage, Actor("other", frozenset({Role.VIEWER}), frozenset({"民政局"})), id="3")
    found = traced(stage, text=stage.mirror(STREAM)[4])
    assert dict(found.key) == {"id": "4"}
    content = rows(10, 2).set_column(1, "text", pa.array(["same", "same"]))
    link = FIRST.after(chained(1)[0])
    stage.receive([seal(STREAM, link, SCHEMA, content.cast(SCHEMA.arrow), captured_at_us=1)])
    load(stage)
    with pytest.raises(NotPossible, match="several rows"):
        traced(stage, text="same")
