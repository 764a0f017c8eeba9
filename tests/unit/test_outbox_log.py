"""What log capture puts: several streams and the log record in one transaction, open parts hidden until they end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from forebay_agent.config.model import OutboxConfig
from forebay_agent.errors import CollectorBehind, OutboxFull
from forebay_agent.outbox import (
    START,
    Hold,
    LogRecord,
    NewEpoch,
    Outbox,
    OutboxReader,
    SeenChanges,
    StreamPut,
    Superseded,
)
from forebay_agent.outbox.room import Room
from forebay_agent.uplink.fit import CollectorMark, check_fit
from forebay_wire.digest import GENESIS
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName
from tests.daemon.log_puts import put_of, shown
from tests.receiving.batches import SCHEMA, STREAM, chained

CONFIG = OutboxConfig()
WHERE = (STREAM.department, STREAM.source)
OTHER = StreamName(*WHERE, "public.人员")
ELSEWHERE = StreamName(STREAM.department, "另一库", "public.企业")


def at(checkpoint: object) -> LogRecord:
    return LogRecord(str(checkpoint), frozenset({STREAM.table, OTHER.table}))


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with closing(Outbox.open(tmp_path, CONFIG)) as opened:
        yield opened


@pytest.fixture
def reader(outbox: Outbox) -> Iterator[OutboxReader]:
    with closing(outbox.reader()) as opened:
        yield opened


def test_a_piece_of_several_streams_and_the_log_record_are_kept_together(outbox: Outbox, reader: OutboxReader) -> None:
    puts = [put_of(outbox.stream(STREAM), 2), put_of(outbox.stream(OTHER), 3)]
    outbox.put_log(*WHERE, puts, at(7), open=False)
    assert [shown(reader, put.before) for put in puts] == [[(1, 1), (1, 2)], [(1, 1), (1, 2), (1, 3)]]
    assert [outbox.stream(put.before.name) for put in puts] == [put.after for put in puts]
    assert outbox.log(*WHERE) == at(7)
    assert outbox.arrivals() == {put.before.id for put in puts}
    assert reader.schema(SCHEMA.fingerprint) == SCHEMA.serialized
    assert outbox.state().bytes == sum(put.size for put in puts)


def test_one_stream_that_was_reset_keeps_the_whole_piece_out_and_is_named(outbox: Outbox, reader: OutboxReader) -> None:
    puts = [put_of(outbox.stream(STREAM)), put_of(outbox.stream(OTHER))]
    outbox.put_log(*WHERE, [], at(6), open=False)
    outbox.reset(OTHER, who="ops", why="rebuilt")
    with pytest.raises(Superseded) as superseded:
        outbox.put_log(*WHERE, puts, at(7), open=False)
    assert superseded.value.names == {OTHER}
    assert shown(reader, puts[0].before) == []
    assert outbox.stream(STREAM) == puts[0].before
    assert (outbox.log(*WHERE), outbox.state().batches) == (at(6), 0)


def test_an_open_part_is_not_shown_and_does_not_move_the_log_record(outbox: Outbox, reader: OutboxReader) -> None:
    first = put_of(outbox.stream(STREAM), 2)
    outbox.put_log(*WHERE, [first], at(1), open=False)
    outbox.arrivals()
    told: list[None] = []
    outbox.on_arrival = lambda: told.append(None)
    second = put_of(first.after, 2)
    outbox.put_log(*WHERE, [second, put_of(outbox.stream(OTHER))], at(2), open=True)
    third = put_of(second.after, 1)
    outbox.put_log(*WHERE, [third], at(3), open=True)
    assert shown(reader, first.before) == [(1, 1), (1, 2)]
    assert reader.find(first.before.id, 1, 3) is None
    assert reader.standing(first.before.id)[0] == first.after
    assert shown(reader, outbox.stream(OTHER)) == []
    assert outbox.stream(STREAM) == third.after
    assert outbox.log(*WHERE) == at(1)
    assert outbox.arrivals() == {outbox.stream(OTHER).id}  # made, when it was asked for
    assert len(told) == 1


def test_the_put_that_ends_the_transaction_shows_all_of_it_and_announces_all_streams(
    outbox: Outbox, reader: OutboxReader
) -> None:
    one, two = put_of(outbox.stream(STREAM), 2), put_of(outbox.stream(OTHER), 1)
    outbox.put_log(*WHERE, [one, two], at(0), open=True)
    outbox.arrivals()
    last = put_of(one.after, 1)
    outbox.put_log(*WHERE, [last], at(9), open=False)
    assert shown(reader, one.before) == [(1, 1), (1, 2), (1, 3)]
    assert shown(reader, two.before) == [(1, 1)]
    assert outbox.arrivals() == {one.before.id, two.before.id}
    assert outbox.log(*WHERE) == at(9)
    assert outbox.discard_open(*WHERE) == 0


def test_a_transaction_may_end_in_a_piece_without_rows(outbox: Outbox, reader: OutboxReader) -> None:
    put = put_of(outbox.stream(STREAM))
    outbox.put_log(*WHERE, [put], at(0), open=True)
    outbox.put_log(*WHERE, [], at(4), open=False)
    assert shown(reader, put.before) == [(1, 1)]
    assert outbox.log(*WHERE) == at(4)


def test_another_source_neither_shows_nor_loses_an_open_part(outbox: Outbox, reader: OutboxReader) -> None:
    mine, others = put_of(outbox.stream(STREAM)), put_of(outbox.stream(ELSEWHERE))
    outbox.put_log(*WHERE, [mine], at(0), open=True)
    outbox.put_log(ELSEWHERE.department, ELSEWHERE.source, [others], at(5), open=False)
    assert outbox.discard_open(ELSEWHERE.department, ELSEWHERE.source) == 0
    assert (shown(reader, mine.before), shown(reader, others.before)) == ([], [(1, 1)])
    assert outbox.stream(STREAM) == mine.after
    assert outbox.log(*WHERE) is None


def test_a_discarded_open_part_leaves_everything_as_before_it(outbox: Outbox, reader: OutboxReader) -> None:
    first = put_of(outbox.stream(STREAM), 2, '{"rows":6}')
    outbox.put_log(*WHERE, [first], at(1), open=False)
    second = put_of(first.after, 2, epochs=2)
    outbox.put_log(*WHERE, [second], at(2), open=True)
    assert reader.resets() == []
    assert outbox.discard_open(*WHERE) == 6
    assert outbox.stream(STREAM) == first.after
    assert reader.resets() == []
    assert (outbox.state().batches, outbox.state().bytes) == (2, first.size)
    again = put_of(first.after, 1, epochs=1)
    outbox.put_log(*WHERE, [again], at(2), open=False)
    assert shown(reader, first.before) == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert [reset.new_epoch for reset in reader.resets()] == [2]


def test_an_open_part_is_hidden_and_can_be_discarded_after_a_restart(tmp_path: Path, outbox: Outbox) -> None:
    first = put_of(outbox.stream(STREAM), 1)
    outbox.put_log(*WHERE, [first], at(1), open=False)
    outbox.put_log(*WHERE, [put_of(first.after, 2), put_of(outbox.stream(OTHER))], at(2), open=True)
    outbox.close()
    with closing(Outbox.open(tmp_path, CONFIG)) as again, closing(again.reader()) as reader:
        assert shown(reader, first.before) == [(1, 1)]
        assert again.discard_open() == 3
        assert again.stream(STREAM) == first.after
        assert (again.stream(OTHER).next_seq, again.stream(OTHER).chain) == (1, GENESIS)


def test_what_the_collector_confirmed_fits_while_a_transaction_is_open(outbox: Outbox, reader: OutboxReader) -> None:
    first = put_of(outbox.stream(STREAM), 2)
    outbox.put_log(*WHERE, [first], at(1), open=False)
    outbox.put_log(*WHERE, [put_of(first.after, 2)], at(1), open=True)
    outbox.delete({first.before.id: (1, 2)})
    record, waits = reader.standing(first.before.id)
    assert waits is None
    check_fit(
        record, waits, lambda epoch, seq: reader.find(record.id, epoch, seq), CollectorMark(1, 2, first.after.chain)
    )
    with pytest.raises(CollectorBehind):
        check_fit(record, waits, lambda epoch, seq: None, CollectorMark(1, 1, first.batches[0].chain))


def test_a_new_epoch_goes_on_with_the_chain_and_abandons_nothing(outbox: Outbox, reader: OutboxReader) -> None:
    before = outbox.stream(STREAM)
    put = put_of(before, 2, '{"rows":6}', epochs=1)
    outbox.put_log(*WHERE, [put], at(1), open=False)
    assert shown(reader, before) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert put.batches[2].fields.previous_chain == put.batches[1].chain
    (reset,) = reader.resets()
    assert (reset.name, reset.who, reset.why) == (STREAM, "log capture", "column retyped")
    assert (reset.old_epoch, reset.old_next_seq, reset.new_epoch, reset.abandoned_batches) == (1, 3, 2, 0)
    assert outbox.arrivals() == {before.id}


def test_a_new_epoch_starts_from_the_start_of_its_table(outbox: Outbox) -> None:
    record = put_of(outbox.stream(STREAM), 3).after
    new = record.next_epoch()
    assert (new.epoch, new.next_seq, new.chain, new.checkpoint) == (2, 1, record.chain, START)


def test_a_new_epoch_without_batches_is_kept(outbox: Outbox, reader: OutboxReader) -> None:
    before = outbox.stream(STREAM)
    put = StreamPut(before, before.next_epoch(), [], epochs=[NewEpoch(2, 1, START, "log capture", "truncated")])
    outbox.put_log(*WHERE, [put], at(1), open=False)
    assert outbox.stream(STREAM) == put.after
    assert len(reader.resets()) == 1


def test_a_reset_by_the_cli_discards_that_streams_open_part_and_no_other(tmp_path: Path, outbox: Outbox) -> None:
    first = put_of(outbox.stream(STREAM), 2)
    outbox.put_log(*WHERE, [first], at(1), open=False)
    one, two = put_of(first.after, 2, epochs=1), put_of(outbox.stream(OTHER), 1)
    outbox.put_log(*WHERE, [one, two], at(1), open=True)
    with closing(Outbox.open(tmp_path, CONFIG, check=False)) as cli, closing(cli.reader()) as reader:
        new = cli.reset(STREAM, who="ops", why="rebuilt")
        assert (new.epoch, new.next_seq, new.chain, new.checkpoint) == (2, 1, first.after.chain, START)
        assert shown(reader, first.before) == [(1, 1), (1, 2)]
        (reset,) = reader.resets()
        assert (reset.who, reset.old_next_seq, reset.abandoned_batches) == ("ops", 3, 0)
    with pytest.raises(Superseded) as superseded:
        outbox.put_log(*WHERE, [put_of(one.after), put_of(two.after)], at(2), open=False)
    assert superseded.value.names == {STREAM}
    assert outbox.state().bytes == first.size + two.size
    outbox.put_log(*WHERE, [put_of(new), put_of(two.after)], at(2), open=False)
    with closing(outbox.reader()) as reader:
        assert shown(reader, first.before) == [(1, 1), (1, 2), (2, 1)]
        assert shown(reader, two.before) == [(1, 1), (1, 2)]


def test_a_held_streams_open_part_goes_with_what_waits_at_its_reset(outbox: Outbox, reader: OutboxReader) -> None:
    first = put_of(outbox.stream(STREAM), 2)
    outbox.put_log(*WHERE, [first], at(1), open=False)
    outbox.put_log(*WHERE, [put_of(first.after, 3)], at(1), open=True)
    outbox.hold(first.before.id, Hold("FB-STATE-LOST", "lost", 4, 2, b"c" * 32))
    new = outbox.reset(STREAM, who="ops", why="disk replaced")
    assert (new.epoch, new.chain) == (5, b"c" * 32)
    (reset,) = reader.resets()
    assert reset.abandoned_batches == 2
    assert outbox.state().batches == 0


@pytest.mark.parametrize("wrong", ["skipped", "twice", "other chain", "unnamed epoch", "wrong end", "epoch left out"])
def test_batches_that_do_not_lead_from_before_to_after_are_not_kept(
    outbox: Outbox, reader: OutboxReader, wrong: str
) -> None:
    before = outbox.stream(STREAM)
    put = put_of(before, 3, epochs=1)
    batches: Sequence[SealedBatch] = put.batches
    match wrong:
        case "skipped":
            put = replace(put, batches=[batches[0], *batches[2:]])
        case "twice":
            put = replace(put, batches=[batches[0], *batches])
        case "other chain":
            put = replace(put, batches=[*chained(1, link=before.link, seed=9), *batches[1:]])
        case "unnamed epoch":
            put = replace(put, epochs=[])
        case "wrong end":
            put = replace(put, after=replace(put.after, next_seq=9))
        case _:
            put = replace(put, epochs=[replace(put.epochs[0], epoch=3)])
    with pytest.raises(ValueError, match="public"):
        outbox.put_log(*WHERE, [put], at(1), open=False)
    assert (shown(reader, before), outbox.log(*WHERE)) == ([], None)


def test_a_stream_of_another_source_is_refused(outbox: Outbox) -> None:
    with pytest.raises(ValueError, match="is not of"):
        outbox.put_log(*WHERE, [put_of(outbox.stream(ELSEWHERE))], at(1), open=False)


def test_rows_of_an_open_part_are_not_remembered(outbox: Outbox) -> None:
    put = replace(put_of(outbox.stream(STREAM)), seen_changes=SeenChanges(remember=((b"k", b"r"),)))
    with pytest.raises(ValueError, match="remembered"):
        outbox.put_log(*WHERE, [put], at(1), open=True)


def test_the_memory_of_a_cursor_ends_with_its_epoch(outbox: Outbox) -> None:
    record = outbox.stream(STREAM)
    record = outbox.put(record, [], "{}", seen_changes=SeenChanges(remember=((b"k", b"r"),)))
    assert outbox.seen(record.id, [b"k"])
    outbox.put_log(*WHERE, [put_of(record, epochs=1)], at(1), open=False)
    assert outbox.seen(record.id, [b"k"]) == {}


def test_a_transaction_larger_than_the_cap_says_so(tmp_path: Path) -> None:
    size = chained(1, text_bytes=10_000)[0].size
    with closing(Outbox.open(tmp_path, OutboxConfig(cap=3 * size + 100, free_disk=0))) as outbox:
        record = outbox.stream(STREAM)
        waits = outbox.put(record, chained(1, link=record.link, text_bytes=10_000), "{}", schema=SCHEMA)
        part = put_of(waits, 1, text_bytes=10_000)
        outbox.put_log(*WHERE, [part], at(1), open=True)
        more = put_of(part.after, 2, text_bytes=10_000)
        with pytest.raises(OutboxFull) as waiting:  # what waits will leave
            outbox.put_log(*WHERE, [more], at(1), open=True)
        assert waiting.value.remedy == ""
        outbox.delete({record.id: (1, 1)})
        outbox.put_log(*WHERE, [more], at(1), open=True)
        last = put_of(more.after, 1, text_bytes=10_000)
        with pytest.raises(OutboxFull) as refused:
            outbox.put_log(*WHERE, [last], at(1), open=True)
        assert f"{part.size + more.size + last.size:,} bytes" in str(refused.value)
        assert f"{3 * size + 100:,}" in str(refused.value)
        assert "[outbox] cap" in refused.value.remedy
        assert outbox.state().full
        assert outbox.discard_open(*WHERE) == 3
        assert outbox.stream(STREAM) == waits


def test_the_end_of_a_transaction_finds_room_and_so_does_what_others_put_beside_it(tmp_path: Path) -> None:
    """Nothing that is hidden can leave before its end: were that refused, nothing ever could."""
    size = chained(1, text_bytes=10_000)[0].size
    with closing(Outbox.open(tmp_path, OutboxConfig(cap=3 * size + 100, free_disk=0))) as outbox:
        part = put_of(outbox.stream(STREAM), 3, text_bytes=10_000)
        outbox.put_log(*WHERE, [part], at(1), open=True)
        other = outbox.stream(ELSEWHERE)
        other = outbox.put(other, chained(1, ELSEWHERE, other.link, text_bytes=10_000), "{}", schema=SCHEMA)
        with pytest.raises(OutboxFull):
            outbox.put(other, chained(1, ELSEWHERE, other.link, text_bytes=10_000), "{}", schema=SCHEMA)
        outbox.delete({other.id: (1, 1)})
        outbox.put_log(*WHERE, [put_of(part.after, 1, text_bytes=10_000)], at(2), open=False)
        with closing(outbox.reader()) as reader:
            assert len(shown(reader, part.before)) == 4


def test_a_transaction_that_the_disk_has_no_room_for_says_so(tmp_path: Path) -> None:
    free = 10 << 20
    room = Room(tmp_path, 1 << 30, 5 << 20, lambda _: free)
    with closing(Outbox.open(tmp_path, CONFIG, room=room)) as outbox:
        part = put_of(outbox.stream(STREAM))
        outbox.put_log(*WHERE, [part], at(1), open=True)
        free = (5 << 20) + 100
        with pytest.raises(OutboxFull, match="not ended") as refused:
            outbox.put_log(*WHERE, [put_of(part.after)], at(1), open=True)
        assert "disk space" in refused.value.remedy
