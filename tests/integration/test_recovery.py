"""A collector is made again of its backup, its archive and its platform: nothing is lost, nothing stands twice."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from forebay_collector.archive import names
from forebay_collector.archive.schemas import FILE, Kept, SchemaLog
from forebay_collector.cli import main
from forebay_collector.errors import BackupUnusable, DataFolderInUse, LedgerDamaged, NotPossible
from forebay_collector.founding import init
from forebay_collector.ledger import BatchState
from forebay_collector.load import quarantine
from forebay_collector.lock import locked
from forebay_collector.platform.contract import OpenedBatch, PlatformError
from forebay_collector.platform.iceberg import IcebergPlatform
from forebay_collector.recovery.backup import back_up
from forebay_collector.recovery.manifest import Manifest
from forebay_collector.recovery.restore import Restored, restore
from forebay_collector.service import custody
from forebay_collector.service.actor import Actor
from forebay_wire.schema import TableSchema, column
from forebay_wire.seal import Link, seal
from forebay_wire.stream import StreamName
from tests.custody.flips import flip_file
from tests.loading.stage import AGENT, Moody, Stage
from tests.receiving.batches import DEPARTMENT, FIRST, STREAM, chained, rows

LATER = StreamName("民政局", "低保库", "public.低保对象 " + "长" * 90)
AUDITOR = Actor.local("auditor")


class Centre:
    """A stage that can be closed and opened again, as a collector that is stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stage = Stage(folder / "collector")
        self.backup = folder / "backup"

    def back_up(self) -> Manifest:
        return back_up(self.stage.settings.data, self.backup)

    def restore(self) -> Restored:
        self.stage.close()
        try:
            return restore(self.backup, self.folder / "collector", IcebergPlatform, who="王敏", why="the disk failed")
        finally:
            self.stage = Stage(self.folder / "collector")
            self.stage.loader().settle()

    def load(self, *streams: StreamName) -> None:
        loader = self.stage.loader()
        for stream in streams or (STREAM, LATER):
            while loader.load_step(stream):
                pass

    def assert_whole(self, stream: StreamName, batches: int, without: frozenset[int] = frozenset()) -> None:
        """Everything is loaded, once, and in its place by everyone's account."""
        self.load()
        assert self.stage.history(stream) == [
            (seq, row) for seq in range(1, batches + 1) if seq not in without for row in range(3)
        ]
        assert self.stage.loaded(stream) == (1, batches)
        verdict = custody.verify(self.stage.ledger, self.stage.archive, self.stage.platform, AUDITOR)
        assert verdict.ok, verdict.findings


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    made = Centre(tmp_path)
    yield made
    made.stage.close()


def test_what_is_newer_than_the_backup_is_rebuilt_from_archive_and_platform(centre: Centre) -> None:
    centre.stage.receive(chained(4))
    centre.load()
    centre.back_up()
    centre.stage.receive(chained(9)[4:])
    centre.load()
    centre.stage.receive(chained(12)[9:])  # durable, and not loaded yet
    centre.stage.receive(chained(5, LATER), agent="mzj-01")  # a stream that the backup does not know
    done = centre.restore()
    assert {one.stream: one.recorded for one in done.streams} == {STREAM: 8, LATER: 5}
    assert not any(one.stopped or one.lost or one.given_up for one in done.streams)
    record = centre.stage.ledger.streams.get(STREAM)
    assert record is not None
    assert (record.durable, record.durable_chain, record.loaded) == ((1, 12), chained(12)[-1].chain, (1, 9))
    centre.assert_whole(STREAM, 12)
    centre.assert_whole(LATER, 5)
    (entry,) = centre.stage.ledger.audit.listing(action="restore")
    assert (entry.who, entry.why, entry.detail["batches"]) == ("王敏", "the disk failed", 13)
    assert centre.stage.ledger.audit.verify().ok


def test_a_schema_that_came_after_the_backup_opens_what_came_with_it(centre: Centre) -> None:
    centre.stage.receive(chained(1))
    centre.back_up()
    wider = TableSchema.of(
        [*(column(name, pa.int64() if name == "id" else pa.string(), "t") for name in ("id", "text", "more"))], ["id"]
    )
    content = pa.RecordBatch.from_pylist([{**row, "more": "x"} for row in rows(10, 3).to_pylist()], schema=wider.arrow)
    batch = seal(STREAM, FIRST.after(chained(1)[0]), wider, content, captured_at_us=1_700_000_000_000_000)
    centre.stage.receive([batch], wider)
    centre.restore()
    centre.assert_whole(STREAM, 2)


def test_restoring_twice_is_as_restoring_once(centre: Centre) -> None:
    centre.stage.receive(chained(3))
    centre.back_up()
    centre.stage.receive(chained(6)[3:])
    centre.load()
    first, second = centre.restore(), centre.restore()
    assert [one.recorded for one in (*first.streams, *second.streams)] == [3, 3]
    assert first.aside is not None
    assert second.aside is not None
    assert (first.aside / "ledger.db").exists()
    centre.assert_whole(STREAM, 6)


def test_what_people_had_decided_since_is_read_off_the_platform(centre: Centre) -> None:
    refused = {2, 4}

    def refuse(batch: OpenedBatch) -> Exception | None:
        return PlatformError("does not fit", code="FB-TEST", permanent=True) if batch.seq in refused else None

    loader = centre.stage.loader(Moody(centre.stage.platform, refuse))
    centre.stage.receive(chained(3))
    for _ in range(3):
        loader.load_step(STREAM)
    assert centre.stage.states(STREAM)[2] is BatchState.QUARANTINED
    centre.back_up()  # with the second held
    refused.remove(2)
    quarantine.replay(centre.stage.ledger, STREAM, None, who="王敏", why="the column was widened")
    centre.stage.receive(chained(7)[3:])
    for _ in range(9):
        loader.load_step(STREAM)
    quarantine.discard(centre.stage.ledger, STREAM, None, who="王敏", why="it is a test row")
    for _ in range(9):
        loader.load_step(STREAM)
    assert centre.stage.loaded(STREAM) == (1, 7)
    done = centre.restore()
    assert [(one.recorded, one.given_up) for one in done.streams] == [(4, 1)]
    states = centre.stage.states(STREAM)
    assert {seq for seq, state in states.items() if state is BatchState.DISCARDED} == {4}
    assert {seq for seq, state in states.items() if state is BatchState.LOADED} == {1, 2, 3, 5, 6, 7}
    centre.assert_whole(STREAM, 7, frozenset({4}))


def test_a_lost_ledger_and_a_lost_catalogue_lose_nothing(centre: Centre) -> None:
    centre.stage.receive(chained(3))
    centre.load()
    centre.back_up()
    centre.stage.receive(chained(8)[3:])
    centre.load()
    centre.stage.close()
    data = centre.folder / "collector"
    for path in (*data.glob("ledger.db*"), *(data / "platform").glob("catalog.db*")):
        path.unlink()
    assert _restore_closed(centre).catalogue == "restored"
    centre.assert_whole(STREAM, 8)


def _restore_closed(centre: Centre) -> Restored:
    """As `Centre.restore`, of a stage that is closed already."""
    done = restore(centre.backup, centre.folder / "collector", IcebergPlatform, who="王敏", why="the disk failed")
    centre.stage = Stage(centre.folder / "collector")
    centre.stage.loader().settle()
    return done


def test_on_a_new_machine_the_backup_and_the_archive_alone_make_it_again(centre: Centre) -> None:
    centre.stage.receive(chained(3))
    centre.load()
    (centre.stage.settings.folder / "robot.secret").write_text("s", "utf-8")
    centre.back_up()
    centre.stage.receive(chained(6)[3:])
    centre.load()
    centre.stage.close()
    old, new = centre.folder / "collector", centre.folder / "new" / "collector"
    new.mkdir(parents=True)
    shutil.copytree(old / "archive", new / "archive")
    centre.folder = centre.folder / "new"
    done = _restore_closed(centre)
    assert {"collector.toml", "identity/authority.key", "robot.secret"} <= set(done.put_back)
    centre.assert_whole(STREAM, 6)


def test_a_damaged_batch_in_the_archive_ends_the_rebuilding_of_its_stream_and_is_named(centre: Centre) -> None:
    centre.back_up()
    centre.stage.receive(chained(5))
    centre.stage.receive(chained(2, LATER))
    flip_file(centre.stage.archive.root / names.batch_file(STREAM, 1, 3), 777)
    done = {one.stream: one for one in centre.restore().streams}
    assert (done[STREAM].recorded, done[LATER].recorded) == (2, 2)
    assert "000000000003.batch" in done[STREAM].stopped
    centre.assert_whole(LATER, 2)


def test_where_the_archive_is_lost_too_the_loss_is_told_and_a_new_epoch_goes_on(centre: Centre) -> None:
    centre.stage.receive(chained(3))
    centre.load()
    centre.back_up()
    centre.stage.receive(chained(6)[3:])
    centre.load()
    for seq in (4, 5, 6):
        (centre.stage.archive.root / names.batch_file(STREAM, 1, seq)).unlink()
    (done,) = centre.restore().streams
    assert (done.recorded, done.lost) == (0, (1, 6))
    verdict = custody.verify(centre.stage.ledger, centre.stage.archive, centre.stage.platform, AUDITOR)
    assert [(one.place, one.kind) for one in verdict.findings] == [("ledger", "missing")]
    # the agent starts the stream anew from the collector's mark, as `forebay-agent reset` does
    after = Link(2, 1, chained(3)[-1].chain)
    centre.stage.receive(chained(2, link=after))
    centre.load()
    assert centre.stage.loaded(STREAM) == (2, 2)
    assert custody.verify(centre.stage.ledger, centre.stage.archive, centre.stage.platform, AUDITOR).ok


def test_a_batch_that_does_not_continue_what_was_lost_is_never_loaded(centre: Centre) -> None:
    centre.stage.receive(chained(4))
    centre.load()
    with closing(sqlite3.connect(centre.stage.settings.data.ledger)) as connection, connection:
        connection.execute("DELETE FROM batch WHERE seq = 4")
    centre.stage.receive(chained(5)[4:])
    centre.stage.receive(chained(1, link=Link(2, 1, chained(5)[-1].chain)))
    centre.load()
    assert centre.stage.loaded(STREAM) == (1, 4)


def test_a_backup_is_of_one_moment_while_batches_come_in(centre: Centre) -> None:
    stop = threading.Event()
    batches = chained(400)

    def receive() -> None:
        for batch in batches:
            if stop.is_set():
                return
            centre.stage.receive([batch])

    writer = threading.Thread(target=receive)
    writer.start()
    try:
        for number in range(4):
            back_up(centre.stage.settings.data, centre.folder / f"backup{number}")
    finally:
        stop.set()
        writer.join()
    for number in range(4):
        with closing(sqlite3.connect(centre.folder / f"backup{number}" / "ledger.db")) as copy:
            durable = copy.execute("SELECT coalesce(max(durable_seq), 0) FROM stream").fetchone()[0]
            assert copy.execute("SELECT count(*), coalesce(max(seq), 0) FROM batch").fetchone() == (durable, durable)
    centre.backup = centre.folder / "backup0"
    record = centre.stage.ledger.streams.get(STREAM)
    assert record is not None
    centre.restore()
    centre.assert_whole(STREAM, record.durable_seq)


def test_a_backup_that_is_not_whole_is_refused_and_nothing_is_touched(centre: Centre) -> None:
    chance = random.Random(3)
    centre.stage.receive(chained(2))
    manifest = centre.back_up()
    ledger = centre.stage.settings.data.ledger.read_bytes()
    for name in manifest.files:
        path = centre.backup / name
        bit = chance.randrange(8 * path.stat().st_size)
        flip_file(path, bit)
        with pytest.raises(BackupUnusable, match=path.name):
            restore(centre.backup, centre.stage.settings.folder, IcebergPlatform, who="a", why="b")
        flip_file(path, bit)
    (centre.backup / "collector.toml").unlink()
    with pytest.raises(BackupUnusable):
        restore(centre.backup, centre.stage.settings.folder, IcebergPlatform, who="a", why="b")
    with pytest.raises(BackupUnusable):
        restore(centre.folder, centre.stage.settings.folder, IcebergPlatform, who="a", why="b")
    assert centre.stage.settings.data.ledger.read_bytes() == ledger


def test_a_backup_is_private_never_overwrites_and_a_damaged_ledger_makes_none(centre: Centre) -> None:
    centre.stage.receive(chained(40))
    centre.back_up()
    private = [path.stat().st_mode & 0o077 for path in (centre.backup, *centre.backup.rglob("*"))]
    assert not any(private)
    with pytest.raises(NotPossible):
        centre.back_up()
    centre.stage.close()
    path = centre.stage.settings.data.ledger
    content = bytearray(path.read_bytes())
    content[4_096 : len(content)] = b"\xa5" * (len(content) - 4_096)
    whole = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(LedgerDamaged):
        back_up(centre.stage.settings.data, centre.folder / "other")
    assert not (centre.folder / "other").exists()
    path.write_bytes(whole)
    centre.stage = Stage(centre.folder / "collector")


def test_a_running_collector_and_another_collectors_folder_are_refused(centre: Centre, tmp_path: Path) -> None:
    centre.back_up()
    data = centre.stage.settings.data
    with locked(data.lock("load")), pytest.raises(DataFolderInUse):
        restore(centre.backup, data.path, IcebergPlatform, who="a", why="b")
    other = init(tmp_path / "other", ["127.0.0.1:7443"])
    with pytest.raises(NotPossible):
        restore(centre.backup, other.folder, IcebergPlatform, who="a", why="b")


def test_the_log_of_schemas_passes_over_what_was_cut_short_or_damaged(tmp_path: Path) -> None:
    log = SchemaLog(tmp_path)
    kept = [Kept(STREAM, bytes([number]) * 32, b"schema") for number in range(3)] + [Kept(STREAM, "77", b"dictionary")]
    log.append(kept[:2])
    with log.path.open("ab") as file:
        file.write(log.path.read_bytes()[:40])
    log.append(kept[2:])
    assert list(log.read()) == kept
    bits = 8 * log.path.stat().st_size
    chance = random.Random(7)
    for _ in range(200):
        bit = chance.randrange(bits)
        flip_file(tmp_path / FILE, bit)
        assert [one for one in log.read() if one not in kept] == []
        flip_file(tmp_path / FILE, bit)


def test_the_command_line_backs_up_and_restores(centre: Centre, capsys: pytest.CaptureFixture[str]) -> None:
    centre.stage.receive(chained(2), agent=AGENT)
    data = ["--data", str(centre.stage.settings.folder)]
    assert main([*data, "backup", str(centre.backup)]) == 0
    centre.stage.receive(chained(3)[2:])
    centre.stage.close()
    capsys.readouterr()
    assert main([*data, "restore", str(centre.backup), "--reason", "a test", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["whole"], told["catalogue"]) == (True, "kept")
    assert [(one["stream"], one["recorded"]) for one in told["streams"]] == [(str(STREAM), 1)]
    assert main([*data, "restore", str(centre.folder / "nothing"), "--reason", "a test"]) == 1
    assert "FB-BACKUP" in capsys.readouterr().err
    centre.stage = Stage(centre.folder / "collector")
    assert DEPARTMENT in str(centre.stage.ledger.streams.listing()[0].name)
