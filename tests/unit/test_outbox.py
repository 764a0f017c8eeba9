"""The outbox's promises, on real SQLite files."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from forebay_agent.config.model import OutboxConfig
from forebay_agent.errors import OutboxDamaged, OutboxFull, StateFolderUnusable, StreamUnknown
from forebay_agent.outbox import START, Hold, Outbox, OutboxReader, SeenChanges, StreamRecord, Superseded
from forebay_agent.outbox.room import Room
from forebay_wire.digest import GENESIS
from forebay_wire.seal import SealedBatch, check_digests
from tests.receiving.batches import SCHEMA, STREAM, chained

CONFIG = OutboxConfig()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with closing(Outbox.open(tmp_path, CONFIG)) as opened:
        yield opened


def fill(outbox: Outbox, count: int, text_bytes: int = 8) -> tuple[StreamRecord, list[SealedBatch]]:
    """Puts batches one by one, each with a checkpoint that names its seq."""
    record = outbox.stream(STREAM)
    batches = chained(count, link=record.link, text_bytes=text_bytes)
    for batch in batches:
        record = outbox.put(record, [batch], f'{{"rows":{batch.seq}}}', schema=SCHEMA)
    return record, batches


def waiting(outbox: Outbox) -> list[tuple[int, int]]:
    with closing(outbox.reader()) as reader:
        return [(batch.epoch, batch.seq) for batch in reader.waiting(outbox.stream(STREAM).id)]


def test_what_was_put_is_there_byte_for_byte_after_a_restart(tmp_path: Path, outbox: Outbox) -> None:
    record, batches = fill(outbox, 3)
    outbox.close()
    with closing(Outbox.open(tmp_path, CONFIG)) as again, closing(again.reader()) as reader:
        assert again.stream(STREAM) == record
        assert (record.link.seq, record.checkpoint) == (4, '{"rows":3}')
        at = (0, 0)
        for batch in batches:
            kept = reader.next_batch(record.id, at)
            assert kept is not None
            check_digests(kept)
            assert (kept.header, kept.payload) == (batch.header, batch.payload)
            at = (kept.epoch, kept.seq)
        assert reader.next_batch(record.id, at) is None
        assert reader.schema(SCHEMA.fingerprint) == SCHEMA.serialized


def test_a_batch_that_a_reset_overtook_is_not_kept_nor_its_checkpoint(outbox: Outbox) -> None:
    record, _ = fill(outbox, 2)
    outbox.reset(STREAM, who="ops", why="table rebuilt")
    late = chained(1, link=record.link)
    with pytest.raises(Superseded):
        outbox.put(record, late, '{"rows":9}', schema=SCHEMA, seen_changes=SeenChanges(remember=((b"k", b"r"),)))
    now = outbox.stream(STREAM)
    assert (now.epoch, now.next_seq, now.checkpoint) == (2, 1, START)
    assert outbox.seen(now.id, [b"k"]) == {}
    assert waiting(outbox) == [(1, 1), (1, 2)]


def test_a_batch_of_another_history_is_not_kept(outbox: Outbox) -> None:
    record, _ = fill(outbox, 1)
    stale = chained(1, link=record.link)
    outbox.put(record, stale, "{}", schema=SCHEMA)
    with pytest.raises(Superseded):
        outbox.put(record, stale, "{}", schema=SCHEMA)
    assert waiting(outbox) == [(1, 1), (1, 2)]


def test_a_new_epoch_follows_the_last_batch_of_the_old_one_which_is_still_sent(outbox: Outbox) -> None:
    record, batches = fill(outbox, 2)
    new = outbox.reset(STREAM, who="ops", why="key changed")
    assert (new.epoch, new.next_seq, new.chain, new.checkpoint) == (2, 1, batches[-1].chain, START)
    outbox.put(new, chained(1, link=new.link), "{}", schema=SCHEMA)
    assert waiting(outbox) == [(1, 1), (1, 2), (2, 1)]
    with closing(outbox.reader()) as reader:
        (entry,) = reader.resets()
    assert (entry.name, entry.who, entry.why, entry.new_epoch) == (STREAM, "ops", "key changed", 2)
    assert (entry.old_next_seq, entry.abandoned_batches) == (record.next_seq, 0)


def test_a_reset_after_a_lost_state_goes_on_from_what_the_collector_holds(outbox: Outbox) -> None:
    record, batches = fill(outbox, 2)
    outbox.hold(record.id, Hold("FB-STATE-LOST", "the collector holds more", 7, 40, b"c" * 32))
    new = outbox.reset(STREAM, who="ops", why="disk replaced")
    assert (new.epoch, new.next_seq, new.chain, new.hold) == (8, 1, b"c" * 32, None)
    assert waiting(outbox) == []
    with closing(outbox.reader()) as reader:
        (entry,) = reader.resets()
    assert (entry.abandoned_batches, entry.abandoned_bytes) == (2, sum(batch.size for batch in batches))
    assert (outbox.state().batches, outbox.state().bytes) == (0, 0)


def test_a_reset_by_another_process_is_counted_and_takes_effect(tmp_path: Path, outbox: Outbox) -> None:
    record, _ = fill(outbox, 3)
    outbox.hold(record.id, Hold("FB-STATE-LOST", "lost", 1, 9, b"c" * 32))
    with closing(Outbox.open(tmp_path, CONFIG, check=False)) as other:
        other.reset(STREAM, who="ops", why="lost")
    with pytest.raises(Superseded):
        outbox.put(record, chained(1, link=record.link), "{}", schema=SCHEMA)
    assert (outbox.state().batches, outbox.state().bytes) == (0, 0)


def test_only_known_streams_are_reset(outbox: Outbox) -> None:
    with pytest.raises(StreamUnknown):
        outbox.reset(STREAM, who="ops", why="typo")


def test_acknowledged_batches_leave_and_their_space_is_used_again(tmp_path: Path, outbox: Outbox) -> None:
    for _ in range(15):
        record, batches = fill(outbox, 8, text_bytes=100_000)
        assert outbox.delete({record.id: record.last}) == 8
    assert outbox.state().bytes == 0
    one_round = sum(batch.size for batch in batches)
    assert (tmp_path / "outbox.db").stat().st_size < 3 * one_round + (1 << 20)


def test_deleting_up_to_a_batch_keeps_the_later_ones_and_other_epochs(outbox: Outbox) -> None:
    fill(outbox, 3)
    outbox.reset(STREAM, who="ops", why="x")
    record, _ = fill(outbox, 2)
    assert outbox.delete({record.id: (1, 2)}) == 2
    assert waiting(outbox) == [(1, 3), (2, 1), (2, 2)]
    assert outbox.delete({record.id: (2, 1)}) == 2
    assert waiting(outbox) == [(2, 2)]


def test_a_full_outbox_refuses_keeps_nothing_of_it_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    size = chained(1, text_bytes=10_000)[0].size
    with closing(Outbox.open(tmp_path, OutboxConfig(cap=2 * size + 100, free_disk=0))) as outbox:
        record, _ = fill(outbox, 2, text_bytes=10_000)
        third = chained(1, link=record.link, text_bytes=10_000)
        with pytest.raises(OutboxFull):
            outbox.put(record, third, '{"rows":3}', schema=SCHEMA)
        assert outbox.state().full
        outbox.check_room()  # the look before the next try: the batch still waits
        assert outbox.state().full
        assert outbox.stream(STREAM) == record
        outbox.delete({record.id: (1, 1)})
        record = outbox.put(record, third, '{"rows":3}', schema=SCHEMA)
        assert (record.checkpoint, outbox.state().full) == ('{"rows":3}', False)


def test_room_that_another_process_made_is_found(tmp_path: Path) -> None:
    size = chained(1, text_bytes=10_000)[0].size
    config = OutboxConfig(cap=2 * size + 100, free_disk=0)
    with closing(Outbox.open(tmp_path, config)) as outbox:
        record, _ = fill(outbox, 2, text_bytes=10_000)
        third = chained(1, link=record.link, text_bytes=10_000)
        with pytest.raises(OutboxFull):
            outbox.put(record, third, '{"rows":3}', schema=SCHEMA)
        with closing(outbox.reader()) as reader:
            assert reader.left() == {STREAM: (1, 0)}
        with closing(Outbox.open(tmp_path, config)) as other:  # `outbox acknowledge`
            assert other.delete({record.id: (1, 2)}) == 2
        record = outbox.put(record, third, '{"rows":3}', schema=SCHEMA)
        state = outbox.state()
        assert (state.batches, state.bytes, state.full) == (1, third[0].size, False)
        with closing(outbox.reader()) as reader:
            assert reader.left() == {STREAM: (1, 2)}
        with closing(Outbox.open(tmp_path, config)) as other:
            other.delete({record.id: (1, 3)})
        outbox.look()
        assert outbox.state().batches == 0
        with closing(outbox.reader()) as reader:
            assert reader.left() == {STREAM: (1, 3)}


def test_a_batch_larger_than_the_cap_goes_alone(tmp_path: Path) -> None:
    with closing(Outbox.open(tmp_path, OutboxConfig(cap=100, free_disk=0))) as outbox:
        fill(outbox, 1)
        with pytest.raises(OutboxFull):
            fill(outbox, 1)


def test_the_disk_keeps_its_reserve(tmp_path: Path) -> None:
    free = 10 << 20
    room = Room(tmp_path, 1 << 30, 5 << 20, lambda _: free)
    with closing(Outbox.open(tmp_path, CONFIG, room=room)) as outbox:
        record, _ = fill(outbox, 1)
        free = (5 << 20) + 100
        with pytest.raises(OutboxFull):
            outbox.put(record, chained(1, link=record.link), "{}", schema=SCHEMA)


def damage_header(file: Path) -> None:
    file.write_bytes(b"not SQLite at all" + file.read_bytes()[17:])


def damage_by_emptying(file: Path) -> None:
    file.write_bytes(b"")


def damage_by_cutting(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: 3 * 16_384])


def damage_a_page(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for page in range(2, len(content) // 16_384):
        content[page * 16_384 : page * 16_384 + 64] = b"\xff" * 64
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [damage_header, damage_by_emptying, damage_by_cutting, damage_a_page], ids=lambda each: each.__name__
)
def test_a_damaged_file_is_never_read_as_empty(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    with closing(Outbox.open(tmp_path, CONFIG)) as outbox:
        fill(outbox, 20, text_bytes=2_000)
    file = tmp_path / "outbox.db"
    damage(file)
    damaged = file.read_bytes()
    with pytest.raises(OutboxDamaged):
        Outbox.open(tmp_path, CONFIG)
    assert file.read_bytes() == damaged


def test_a_file_that_vanished_under_its_log_is_damage(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, CONFIG)
    fill(outbox, 2)
    (tmp_path / "outbox.db").unlink()
    outbox.close()
    (tmp_path / "outbox.db-wal").write_bytes(b"left over")
    with pytest.raises(OutboxDamaged):
        Outbox.open(tmp_path, CONFIG)


def test_a_crash_while_the_file_is_made_leaves_no_half_made_outbox(tmp_path: Path) -> None:
    (tmp_path / "outbox.db.new").write_bytes(b"SQLite format 3\x00 half made")
    with closing(Outbox.open(tmp_path, CONFIG)) as outbox:
        assert outbox.stream(STREAM).link.previous_chain == GENESIS


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    Outbox.open(tmp_path, CONFIG).close()
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StateFolderUnusable, match="newer"):
        Outbox.open(tmp_path, CONFIG)
    with pytest.raises(StateFolderUnusable, match="newer"):
        OutboxReader(tmp_path)


def test_another_programs_file_is_not_an_outbox(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
    with pytest.raises(OutboxDamaged):
        Outbox.open(tmp_path, CONFIG)


def test_only_the_agents_user_reads_the_file(tmp_path: Path, outbox: Outbox) -> None:
    fill(outbox, 1)
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


@pytest.mark.parametrize("seed", range(6))
def test_the_outbox_behaves_as_a_list_whatever_is_done_to_it(tmp_path: Path, seed: int) -> None:
    """Random puts, deletes, resets, holds and restarts against a plain model."""
    draw = random.Random(seed)
    outbox = Outbox.open(tmp_path, CONFIG)
    record = outbox.stream(STREAM)
    model: list[tuple[int, int]] = []
    epoch, seq, hold = 1, 0, 0
    for _ in range(120):
        match draw.choice(["put", "put", "put", "checkpoint", "delete", "reset", "hold", "restart"]):
            case "put":
                batches = chained(draw.randint(1, 3), link=record.link)
                record = outbox.put(record, batches, f'{{"rows":{draw.random()}}}', schema=SCHEMA)
                model += [(batch.epoch, batch.seq) for batch in batches]
                seq += len(batches)
            case "checkpoint":
                record = outbox.put(record, [], f'{{"rows":{draw.random()}}}')
            case "delete" if model:
                through = draw.choice(model)
                outbox.delete({record.id: through})
                model = [at for at in model if at > through]
            case "reset":
                record = outbox.reset(STREAM, who="model", why="drawn")
                epoch, seq = max(epoch, hold) + 1, 0
                model, hold = ([] if hold else model), 0
            case "hold" if draw.random() < 0.3:
                hold = epoch + draw.randint(0, 2)
                outbox.hold(record.id, Hold("FB-STATE-LOST", "drawn", hold, 1, draw.randbytes(32)))
                record = outbox.stream(STREAM)
            case "restart":
                outbox.close()
                outbox = Outbox.open(tmp_path, CONFIG)
        assert outbox.stream(STREAM) == record
        assert record.last == (epoch, seq)
        assert waiting(outbox) == model
        assert outbox.state().batches == len(model)
    outbox.close()
