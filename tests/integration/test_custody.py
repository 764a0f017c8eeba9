"""One flipped bit anywhere in archive and ledger is found and named, and never loaded."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from forebay_collector.archive import names
from forebay_collector.custody.finding import Finding, Kind, Place
from forebay_collector.custody.verify import Progress, Verdict
from forebay_collector.errors import CollectorError
from forebay_collector.ledger import BatchState, Ledger
from forebay_collector.ledger.tables import METADATA
from forebay_collector.load.policy import remedy_of_hold
from forebay_collector.service import custody
from forebay_collector.service.actor import Actor
from forebay_wire.stream import StreamName
from tests.custody.flips import flip_column, flip_file
from tests.loading.stage import Stage
from tests.receiving.batches import STREAM, chained

OTHER = StreamName("民政局", "低保库", "public.低保对象")
AUDITOR = Actor.local("auditor")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    opened = Stage(tmp_path / "collector")
    yield opened
    opened.close()


def copied(ledger: Path, to: Path) -> None:
    """Puts a whole copy of the ledger there, as it is now."""
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def load_all(stage: Stage) -> None:
    loader = stage.loader()
    for stream in (STREAM, OTHER):
        while loader.load_step(stream):
            pass


def verified(stage: Stage, **more: object) -> Verdict:
    return custody.verify(stage.ledger, stage.archive, stage.platform, AUDITOR, **more)  # type: ignore[arg-type]


def only(verdict: Verdict) -> Finding:
    assert verdict.found == len(verdict.findings) == 1, verdict.findings
    return verdict.findings[0]


def object_of(stage: Stage, seq: int, stream: StreamName = STREAM) -> Path:
    return stage.archive.root / names.batch_file(stream, 1, seq)


def test_what_is_whole_is_said_to_be_whole(stage: Stage) -> None:
    stage.receive(chained(6))
    load_all(stage)
    stage.receive([*chained(8)[6:], *chained(3, OTHER)])
    verdict = verified(stage)
    assert verdict.ok, verdict.findings
    assert {name: told.batches for name, told in verdict.streams.items()} == {STREAM: 8, OTHER: 3}


def test_a_bit_flipped_anywhere_in_an_archived_batch_is_named(stage: Stage) -> None:
    chance = random.Random(5)
    stage.receive(chained(5))
    for _ in range(150):
        struck = chance.randint(1, 5)
        path = object_of(stage, struck)
        bit = chance.randrange(8 * path.stat().st_size)
        flip_file(path, bit)
        finding = only(verified(stage))
        assert (finding.place, finding.stream, finding.epoch, finding.seq) == (Place.ARCHIVE, STREAM, 1, struck), bit
        assert path.name in finding.reason
        flip_file(path, bit)
    assert verified(stage).ok


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_whose_object_was_struck_after_it_was_received_is_found_at_load(stage: Stage, seed: int) -> None:
    chance = random.Random(seed)
    stage.receive(chained(5))
    struck = chance.randint(1, 5)
    path = object_of(stage, struck)
    flip_file(path, chance.randrange(8 * path.stat().st_size))
    load_all(stage)
    assert stage.loaded(STREAM) == ((1, struck - 1) if struck > 1 else (0, 0))
    record = stage.ledger.streams.get(STREAM)
    assert record is not None
    assert record.hold is not None
    assert (record.hold.code, record.hold.seq) == ("FB-ARCHIVE-DAMAGED", struck)
    assert "copy of the archive" in remedy_of_hold(record.hold.code)


COLUMNS = {
    table: [column.name for column in METADATA.tables[table].columns if column.name != "one"]
    for table in ("batch", "audit", "audit_head")
}


@pytest.mark.parametrize("table", COLUMNS)
def test_a_bit_flipped_in_any_column_of_batches_and_audit_is_named(stage: Stage, table: str) -> None:
    chance = random.Random(table)
    stage.receive(chained(6))
    load_all(stage)
    stage.receive(chained(8)[6:])
    stage.ledger.audit.add("operator", "test", str(STREAM), "why", {"n": 1})
    stage.ledger.batches.note_failure(STREAM, 1, 7, "FB-TEST", "a reason")
    assert verified(stage).ok
    for column in COLUMNS[table] * 6:
        flip = flip_column(stage.settings.data.ledger, table, column, chance)
        findings = verified(stage).findings
        assert findings, flip
        if flip.batch is None:
            assert {one.place for one in findings} == {Place.AUDIT}, flip
        elif column not in ("stream_id", "epoch", "seq"):
            assert {(one.epoch, one.seq) for one in findings} >= {flip.batch}, (flip, findings)
        else:
            assert any(one.kind in (Kind.MISSING, Kind.FOREIGN) for one in findings), (flip, findings)
        flip.undo()
    assert verified(stage).ok


@pytest.mark.parametrize("column", COLUMNS["batch"])
def test_a_bit_flipped_in_a_row_that_waits_is_never_loaded_nor_passed_over(
    stage: Stage, tmp_path: Path, column: str
) -> None:
    chance = random.Random(column)
    stage.receive(chained(6))
    if column in ("code", "reason"):
        stage.ledger.batches.note_failure(STREAM, 1, 3, "FB-TEST", "a reason")
    whole = tmp_path / "whole.db"
    copied(stage.settings.data.ledger, whole)
    flip = flip_column(stage.settings.data.ledger, "batch", column, chance)
    load_all(stage)
    assert flip.batch is not None
    loaded = stage.loaded(STREAM)
    assert loaded < flip.batch, flip
    if loaded[1]:
        assert stage.history(STREAM) == [(seq, row) for seq in range(1, loaded[1] + 1) for row in range(3)]
    record = stage.ledger.streams.get(STREAM)
    assert record is not None
    if column not in ("stream_id", "epoch", "seq", "state"):  # else nothing may be left that could be held
        assert record.hold is not None, flip
        assert (record.hold.code, record.hold.seq) == ("FB-LEDGER-ROW", flip.batch[1])
        assert "custody verify" in remedy_of_hold(record.hold.code)
    copied(whole, stage.settings.data.ledger)
    stage.loader().settle()
    load_all(stage)
    assert stage.loaded(STREAM) == (1, 6), flip
    assert verified(stage).ok


@pytest.mark.parametrize("column", ["epoch", "durable_seq", "durable_chain", "loaded_epoch", "loaded_seq"])
def test_a_bit_flipped_in_a_streams_marks_is_named_and_loses_nothing(stage: Stage, column: str) -> None:
    chance = random.Random(column)
    stage.receive(chained(6))
    load_all(stage)
    stage.receive(chained(20)[6:])
    for _ in range(10):
        flip = flip_column(stage.settings.data.ledger, "stream", column, chance)
        assert verified(stage, stream=STREAM).found, flip
        flip.undo()
    flip = flip_column(stage.settings.data.ledger, "stream", column, chance)
    load_all(stage)
    history = stage.history(STREAM)
    assert history == [(seq, row) for seq in range(1, len(history) // 3 + 1) for row in range(3)], flip


def test_a_swapped_a_doubled_a_removed_and_a_foreign_object_are_each_named(stage: Stage) -> None:
    stage.receive(chained(9))
    first, second = object_of(stage, 2), object_of(stage, 3)
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    shutil.copy(object_of(stage, 5), object_of(stage, 6))
    object_of(stage, 7).unlink()
    shutil.copy(object_of(stage, 8), object_of(stage, 8).with_name("000000000010.batch"))
    verdict = verified(stage)
    told = {(one.kind, one.place, one.seq) for one in verdict.findings}
    assert told == {
        (Kind.REORDERED, Place.ARCHIVE, 2),
        (Kind.REORDERED, Place.ARCHIVE, 3),
        (Kind.REORDERED, Place.ARCHIVE, 6),
        (Kind.MISSING, Place.ARCHIVE, 7),
    }, verdict.findings  # the tenth is behind the durable mark: it may be on its way
    load_all(stage)
    assert stage.loaded(STREAM) == (1, 1)


def test_a_row_that_is_taken_out_and_one_that_is_exchanged_are_named(stage: Stage) -> None:
    stage.receive(chained(8))
    connection = sqlite3.connect(stage.settings.data.ledger)
    connection.execute("DELETE FROM batch WHERE seq IN (3, 4)")
    connection.commit()
    connection.close()
    verdict = verified(stage)
    missing = next(one for one in verdict.findings if one.kind is Kind.MISSING)
    assert (missing.place, missing.seq, missing.through) == (Place.LEDGER, 3, 4)
    assert {one.seq for one in verdict.findings if one.kind is Kind.FOREIGN} == {3, 4}
    load_all(stage)
    assert stage.loaded(STREAM) == (1, 2)


def test_another_whole_batch_under_its_name_is_never_loaded(stage: Stage) -> None:
    stage.receive(chained(2))
    other = chained(2, text_bytes=50)[1]
    other_first = chained(1, text_bytes=50)[0]
    assert other.header != chained(2)[1].header
    stage.archive.write(other_first)
    stage.archive.sync()
    finding = only(verified(stage))
    assert (finding.kind, finding.place, finding.seq) == (Kind.ALTERED, Place.ARCHIVE, 1)
    load_all(stage)
    assert stage.loaded(STREAM) == (0, 0)


def test_the_loss_of_the_archive_of_loaded_batches_is_stated_and_the_chain_goes_on(stage: Stage) -> None:
    stage.receive(chained(5))
    load_all(stage)
    shutil.rmtree(stage.archive.root / names.stream_folder(STREAM))
    stage.archive._settled.clear()  # as a collector that is started again
    verdict = verified(stage)
    assert {(one.kind, one.place, one.seq) for one in verdict.findings} == {
        (Kind.LOST, Place.ARCHIVE, seq) for seq in range(1, 6)
    }
    stage.receive(chained(8)[5:])
    load_all(stage)
    assert stage.loaded(STREAM) == (1, 8)
    assert {one.seq for one in verified(stage).findings} == {1, 2, 3, 4, 5}


def test_what_retention_removed_is_judged_by_the_chain(stage: Stage) -> None:
    stage.receive(chained(5))
    load_all(stage)
    over = stage.ledger.batches.expirable(stage.ledger.database.clock() + 1)
    for batch in over[:3]:
        stage.archive.delete(batch.stream, batch.epoch, batch.seq)
    stage.ledger.batches.mark_expired(over[:3])
    verdict = verified(stage)
    assert verdict.ok
    assert (verdict.streams[STREAM].expired, verdict.streams[STREAM].read) == (3, 2)


def test_an_interrupted_verification_goes_on_where_it_was_and_since_begins_later(stage: Stage, tmp_path: Path) -> None:
    stage.receive(chained(4))
    note = tmp_path / "custody.json"
    assert verified(stage, progress=Progress(note)).streams[STREAM].batches == 4
    stage.receive(chained(6)[4:])
    assert verified(stage, progress=Progress(note)).streams[STREAM].batches == 2
    last = stage.ledger.batches.get(STREAM, 1, 6)
    assert last is not None
    verdict = verified(stage, since=last.received_at)
    assert verdict.ok, verdict.findings
    assert verdict.streams[STREAM].batches == 2
    assert verified(stage, since=last.received_at + 1).streams[STREAM].batches == 0


def test_damage_does_not_pass_for_the_truth_when_the_row_is_changed_later(stage: Stage) -> None:
    stage.receive(chained(3))
    load_all(stage)
    connection = sqlite3.connect(stage.settings.data.ledger)
    connection.execute("UPDATE batch SET received_at = received_at + 1 WHERE seq = 2")
    connection.commit()
    connection.close()
    stage.ledger.batches.mark_expired([one for one in stage.ledger.batches.listing(stream=STREAM) if one.seq == 2])
    finding = only(verified(stage))
    assert (finding.place, finding.seq) == (Place.LEDGER, 2)
    assert stage.states(STREAM)[2] is BatchState.LOADED


_TOLD = {
    "batch": "*",
    "audit": "*",
    "audit_head": "*",
    "schema": "stream_id, fingerprint, content",
    "stream": "id, department, source, table_name, epoch, durable_seq, durable_chain, loaded_epoch, loaded_seq",
}


def told_by(ledger: Path) -> dict[str, list[str]]:
    """Everything in the file that says what was received, and what became of it."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        return {
            table: sorted(map(repr, connection.execute(f"SELECT {of} FROM {table}"))) for table, of in _TOLD.items()
        }


def _differing(ledger: Path, whole: dict[str, list[str]]) -> object:
    now = told_by(ledger)
    return {table: set(now[table]) ^ set(rows) for table, rows in whole.items() if now[table] != rows}


@pytest.mark.parametrize("seed", range(4))
def test_a_bit_flipped_anywhere_in_the_ledgers_file_is_found_where_it_altered_anything(
    stage: Stage, tmp_path: Path, seed: int
) -> None:
    """Of what nothing stands in, nothing may be noticed."""
    chance = random.Random(seed)
    stage.receive(chained(8))
    load_all(stage)
    stage.receive([*chained(12)[8:], *chained(3, OTHER)])
    stage.ledger.audit.add("operator", "test", str(STREAM), "why", {"n": 1})
    path = tmp_path / "copy.db"
    copied(stage.settings.data.ledger, path)
    whole, content = told_by(path), path.read_bytes()
    written = [place for place, byte in enumerate(content) if byte]  # most of a young file is empty
    found = 0
    for _ in range(60):
        bit = 8 * chance.choice(written) + chance.randrange(8)
        flip_file(path, bit)
        try:
            altered = told_by(path) != whole
        except (sqlite3.Error, UnicodeDecodeError):
            altered = True
        noticed = True
        try:
            ledger = Ledger.open(path)
            try:
                noticed = not custody.verify(ledger, stage.archive, stage.platform, AUDITOR).ok
            finally:
                ledger.close()
        except CollectorError:
            pass
        assert noticed or not altered, (bit, _differing(path, whole))
        found += altered
        for piece in ("copy.db-wal", "copy.db-shm"):
            (tmp_path / piece).unlink(missing_ok=True)
        path.write_bytes(content)
    assert found > 0
