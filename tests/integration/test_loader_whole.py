"""Readers see whole transactions and whole snapshots only, however the loader gets them and whatever it meets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from forebay_collector.errors import LoadStalled
from forebay_collector.ledger import BatchState
from forebay_collector.load import quarantine
from forebay_collector.load.group import GroupSize
from forebay_collector.platform.contract import OpenedBatch, PlatformError
from forebay_collector.verify.flow import await_load, shown_schema
from forebay_wire.schema import TableSchema, column
from forebay_wire.seal import Link, SealedBatch, seal
from tests.loading.stage import Moody, Stage
from tests.receiving.batches import DEPARTMENT, FIRST, SCHEMA, STREAM, chained, rows

LOADED, DURABLE, QUARANTINED = BatchState.LOADED, BatchState.DURABLE, BatchState.QUARANTINED


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    opened = Stage(tmp_path / "collector")
    yield opened
    opened.close()


def refuses_third(batch: OpenedBatch) -> Exception | None:
    if batch.seq == 3:
        return PlatformError("a value does not fit", code="FB-TEST-REFUSES", permanent=True)
    return None


def test_readers_never_see_half_of_a_transaction_of_the_source(stage: Stage) -> None:
    batches = transaction(2) + chained(1, link=Link(1, 3, transaction(2)[-1].chain))
    stage.receive(batches[:1])
    loader = stage.loader()
    assert not loader.load_step(STREAM), "the transaction is not complete"
    stage.receive(batches[1:])
    assert loader.load_step(STREAM)
    assert stage.loaded(STREAM) == (1, 3)


def test_a_transaction_larger_than_a_group_is_loaded_in_parts_and_shown_whole(stage: Stage) -> None:
    batches = transaction(4)
    stage.receive(batches)
    loader = stage.loader(size=GroupSize(raw_bytes=2 * batches[0].fields.raw_bytes, linger_s=0))
    assert loader.load_step(STREAM)
    assert stage.loaded(STREAM) == (1, 2)
    assert not stage.mirror(STREAM)
    assert loader.load_step(STREAM)
    assert stage.loaded(STREAM) == (1, 4)
    assert len(stage.mirror(STREAM)) == 200


@pytest.mark.parametrize("deed", ["replay", "discard"])
def test_no_part_of_a_transaction_is_shown_while_a_batch_of_it_is_quarantined(stage: Stage, deed: str) -> None:
    whole = chained(1, rows_each=50)
    batches = transaction(4, Link(1, 2, whole[0].chain))
    stage.receive([*whole, *batches])
    moody = Moody(stage.platform, refuses_third)
    loader = stage.loader(moody)
    loader.load_step(STREAM)
    assert stage.states(STREAM) == {1: LOADED, 2: LOADED, 3: QUARANTINED, 4: DURABLE, 5: DURABLE}
    shown = stage.mirror(STREAM)
    assert len(shown) == 50, "what was whole before is shown, and nothing of what follows"
    assert {seq for seq, _ in stage.history(STREAM)} == {1, 2}
    moody.refuses = lambda _: None
    if deed == "replay":
        quarantine.replay(stage.ledger, STREAM, None, who="ops", why="mended")
    else:
        quarantine.discard(stage.ledger, STREAM, None, who="ops", why="given up")
    assert loader.load_step(STREAM)
    assert stage.loaded(STREAM) == (1, 5)
    assert len(stage.mirror(STREAM)) == (250 if deed == "replay" else 200)


def anew(count: int, *, last: bool = True) -> list[SealedBatch]:
    """An epoch of one row, and a second whose snapshot is of `count` batches of one row."""
    made = chained(1, rows_each=1)
    link = Link(2, 1, made[0].chain)
    for number in range(count):
        ends = last and number == count - 1
        content = rows(100 + number, 1)
        made.append(seal(STREAM, link, SCHEMA, content, captured_at_us=1, snapshot=1, last_of_snapshot=ends))
        link = link.after(made[-1])
    return made


def test_a_snapshot_whose_last_batch_was_discarded_ends_all_the_same(stage: Stage) -> None:
    batches = anew(3)
    later = seal(STREAM, Link(2, 4, batches[-1].chain), SCHEMA, rows(200, 1), captured_at_us=1)
    stage.receive([*batches, later])
    loader = stage.loader(Moody(stage.platform, lambda one: refuses_third(one) if one.epoch == 2 else None))
    loader.load_step(STREAM)
    record = stage.ledger.streams.get(STREAM)
    assert record is not None
    assert record.hold is not None
    assert set(stage.mirror(STREAM)) == {1}
    quarantine.discard(stage.ledger, STREAM, None, who="ops", why="given up")
    assert stage.loader().load_step(STREAM)
    assert set(stage.mirror(STREAM)) == {100, 101, 200}


def test_what_the_platform_let_go_of_is_loaded_again_from_the_archive(stage: Stage) -> None:
    whole = chained(1, rows_each=50)
    batches = transaction(4, Link(1, 2, whole[0].chain))
    stage.receive([*whole, *batches[:3]])
    loader = stage.loader(size=GroupSize(raw_bytes=1, linger_s=0))
    while loader.load_step(STREAM):
        pass
    stage.receive(batches[3:])
    assert stage.platform.mark(STREAM) > stage.platform.visible(STREAM)
    catalog = SqlCatalog("forebay", uri=f"sqlite:///{stage.settings.data.platform}/catalog.db")
    catalog.load_table((DEPARTMENT, "登记库", "public", "企业")).delete("id == 77")
    catalog.close()
    step = loader.step(STREAM)
    assert (step.loaded, step.pause_s > 0) == (False, True)
    assert set(stage.mirror(STREAM)) == set(range(50, 100)) - {77}, "another writer's commit is never overwritten"
    while loader.load_step(STREAM):
        pass
    assert stage.loaded(STREAM) == (1, 5)
    assert set(stage.mirror(STREAM)) == set(range(50, 300)) - {77}
    assert stage.history(STREAM) == [(seq, row) for seq in range(1, 6) for row in range(50)]


def transaction(count: int, link: Link = FIRST) -> list[SealedBatch]:
    """Batches of which only the last ends a transaction."""
    made = []
    for number in range(count):
        ends = number == count - 1
        content = rows(link.seq * 50, 50, 100)
        batch = seal(STREAM, link, SCHEMA, content, captured_at_us=1, ends_transaction=ends)
        made.append(batch)
        link = link.after(batch)
    return made


def test_verify_waits_for_what_readers_see_and_reads_it_in_its_own_columns(stage: Stage) -> None:
    batches = anew(3)
    wider = TableSchema.of([*SCHEMA.columns, column("more", pa.int32(), "int")], ["id"])
    one = rows(300, 1)
    grown = pa.RecordBatch.from_arrays(
        [*one.columns[:2], pa.array([7], pa.int32()), *one.columns[2:]], schema=wider.arrow
    )
    more = {"captured_at_us": 1, "snapshot": 1}
    part = seal(STREAM, Link(2, 3, batches[2].chain), wider, grown, **more)  # type: ignore[arg-type]
    stage.receive(batches[:3])
    stage.receive([part], wider)
    loader = stage.loader()
    assert loader.load_step(STREAM)
    assert stage.loaded(STREAM) == (2, 3)
    assert shown_schema(stage.ledger, stage.platform, STREAM).fingerprint == SCHEMA.fingerprint
    with pytest.raises(LoadStalled, match=r"2/3 is durable, .* 1/1 is shown"):
        await_load(stage.ledger, stage.platform, STREAM, timedelta(seconds=0.2))
    end = seal(STREAM, Link(2, 4, part.chain), wider, grown.slice(0, 0), last_of_snapshot=True, **more)  # type: ignore[arg-type]
    stage.receive([end], wider)
    assert loader.load_step(STREAM)
    await_load(stage.ledger, stage.platform, STREAM, timedelta(seconds=0.2))
    assert shown_schema(stage.ledger, stage.platform, STREAM).fingerprint == wider.fingerprint


def test_verify_does_not_wait_for_a_batch_that_was_given_up(stage: Stage) -> None:
    stage.receive(chained(3))
    stage.loader(Moody(stage.platform, refuses_third)).load_step(STREAM)
    quarantine.discard(stage.ledger, STREAM, None, who="ops", why="given up")
    await_load(stage.ledger, stage.platform, STREAM, timedelta(seconds=0.2))
