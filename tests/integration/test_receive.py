"""Receiving over real gRPC and TLS: what is taken, what is refused, and that an ack means archive and ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from forebay_collector.founding import init
from forebay_wire import limits
from forebay_wire.digest import GENESIS
from forebay_wire.seal import Link, SealedBatch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import upload_pb2
from tests.receiving.batches import DEPARTMENT, FIRST, STREAM, chained, declaring, flipped
from tests.receiving.collector import InProcess, enrolled
from tests.receiving.sender import Credentials, Request, Sender, schema_of

OTHER = StreamName(DEPARTMENT, "登记库", "public.个体户")
THEIRS = StreamName("民政局", "救助库", "public.低保")


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as running:
        yield running


@pytest.fixture
def credentials(collector: InProcess) -> Credentials:
    return enrolled(collector.settings, collector.ledger)


@pytest.fixture
def sender(collector: InProcess, credentials: Credentials) -> Iterator[Sender]:
    with Sender(collector.address, credentials) as sending:
        sending.hello(STREAM, OTHER)
        sending.schema(STREAM)
        sending.schema(OTHER)
        yield sending


def until(holds: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold"
        time.sleep(0.02)


def held(collector: InProcess, stream: StreamName = STREAM) -> list[tuple[int, int]]:
    """What the ledger has, after checking that the archive has the very same."""
    ledger, archive = collector.ledger, collector.pipeline.archive
    records = sorted((one.epoch, one.seq) for one in ledger.batches.listing(stream=stream, limit=10_000))
    assert list(archive.batches(stream)) == records
    for at in records:
        assert archive.read(stream, *at).header == ledger.batches.header(stream, *at)
    return records


def test_an_acknowledged_batch_is_in_archive_and_ledger_byte_for_byte(collector: InProcess, sender: Sender) -> None:
    batches = chained(20)
    batches += chained(1, link=Link(1, 21, batches[-1].chain), rows_each=4_000, text_bytes=1_200)
    assert len(batches[-1].payload) > 2 * limits.PART_BYTES
    sender.send(*batches)
    ack = sender.durable(21)
    assert ack.chain == batches[-1].chain
    assert held(collector) == [(1, seq) for seq in range(1, 22)]
    for batch in batches:
        stored = collector.pipeline.archive.read(STREAM, 1, batch.seq)
        assert (stored.header, stored.payload) == (batch.header, batch.payload)


def test_what_came_and_what_was_acknowledged_is_counted_once_with_the_time_that_it_took(
    collector: InProcess, sender: Sender
) -> None:
    batches, tally = chained(7), collector.pipeline.tally
    began = time.monotonic()
    sender.send(*batches)
    sender.durable(7)
    took_s = time.monotonic() - began
    assert (tally.received, tally.durable, tally.not_durable) == (7, 7, 0)
    assert tally.received_rows == sum(batch.fields.rows for batch in batches)
    assert tally.received_bytes == tally.durable_bytes == sum(batch.size for batch in batches)
    counts, total_s = tally.ack_histogram()
    assert counts[-1] == 7
    assert 0 < total_s <= 7 * took_s
    sender.send(batches[0])
    sender.send(*chained(1, OTHER))
    sender.durable(1, OTHER)
    assert (tally.received, tally.durable) == (8, 8), "one that is there already is acknowledged, not counted again"


def test_marks_tell_an_agent_where_to_go_on(collector: InProcess, sender: Sender, credentials: Credentials) -> None:
    batches = chained(3)
    sender.send(*batches)
    sender.durable(3)
    with Sender(collector.address, credentials) as again:
        marks = again.hello(STREAM, OTHER)
        assert [(mark.epoch, mark.durable_seq) for mark in marks.marks] == [(1, 3), (0, 0)]
        assert marks.marks[0].durable_chain == batches[-1].chain
        assert marks.marks[1].durable_chain == GENESIS
        assert marks.window_bytes == collector.settings.receive.window


@pytest.mark.parametrize("where", ["payload", "header"])
def test_one_flipped_bit_is_refused_and_the_good_batch_is_taken_after_it(
    collector: InProcess, sender: Sender, where: str
) -> None:
    first, second = chained(2)
    sender.send(first)
    sender.durable(1)
    if where == "payload":
        sender.send(flipped(second, len(second.payload) // 2))
    else:
        at = second.header.index(b"public.")
        header = second.header[: at + 8] + bytes([second.header[at + 8] ^ 1]) + second.header[at + 9 :]
        changed = SealedBatch(header, second.payload)
        if changed.stream != STREAM:
            sender.schema(changed.stream)
        sender.send(changed)
    assert sender.refused().code == upload_pb2.REFUSAL_CODE_DIGEST
    assert held(collector) == [(1, 1)]
    until(lambda: any(entry.action == "batch refused" for entry in collector.ledger.audit.listing()))
    sender.send(second)
    sender.durable(2)


def test_a_gap_is_refused_with_the_mark_and_holds_its_own_stream_only(collector: InProcess, sender: Sender) -> None:
    batches = chained(6)
    sender.send(batches[0])
    sender.durable(1)
    sender.send(batches[2], batches[3])
    sender.send(*chained(1, OTHER))
    refusals = [sender.next("refused").refused for _ in range(2)]
    assert [(refused.seq, refused.code) for refused in refusals] == [
        (3, upload_pb2.REFUSAL_CODE_GAP),
        (4, upload_pb2.REFUSAL_CODE_GAP),
    ]
    assert refusals[0].mark.durable_seq == 1
    sender.durable(1, OTHER)
    sender.send(*batches[1:])
    sender.durable(6)
    assert held(collector) == [(1, seq) for seq in range(1, 7)]


def test_a_doubled_batch_is_acknowledged_again_and_kept_once(collector: InProcess, sender: Sender) -> None:
    batches = chained(5)
    sender.send(*batches)
    sender.durable(5)
    sender.send(batches[1])
    assert sender.durable(2).seq == 2
    sender.send(*batches, *batches)
    sender.durable(5)
    sender.finish()
    assert held(collector) == [(1, seq) for seq in range(1, 6)]


def test_a_lost_ack_never_doubles_a_batch(collector: InProcess, credentials: Credentials) -> None:
    batches = chained(30)
    with Sender(collector.address, credentials) as first:
        first.hello()
        first.schema()
        first.send(*batches)
        until(lambda: bool(collector.ledger.batches.listing(stream=STREAM)))
        first.cut()  # no ack was read
    with Sender(collector.address, credentials) as second:
        second.hello()
        second.send(*batches)
        second.durable(30)
    assert held(collector) == [(1, seq) for seq in range(1, 31)]


def test_a_batch_that_comes_again_after_a_restart_is_acknowledged_and_moves_no_mark(tmp_path: Path) -> None:
    settings = init(tmp_path / "data", ["127.0.0.1:0"], "auto")
    batches = chained(5)
    with InProcess(settings) as before:
        credentials = enrolled(settings, before.ledger)
        with Sender(before.address, credentials) as first:
            first.hello()
            first.schema()
            first.send(*batches)
            first.durable(5)
    with InProcess(settings) as after:
        with Sender(after.address, credentials) as second:
            second.hello()
            second.send(batches[1])
            assert second.durable(2).seq == 2
            second.finish()
        record = after.ledger.streams.get(STREAM)
        assert record is not None
        assert (record.epoch, record.durable_seq, record.durable_chain) == (1, 5, batches[4].chain)
        assert held(after) == [(1, seq) for seq in range(1, 6)]


def test_two_connections_that_send_the_same_do_not_double_it(collector: InProcess, credentials: Credentials) -> None:
    batches = chained(200)
    with Sender(collector.address, credentials) as one, Sender(collector.address, credentials) as two:
        for sending in (one, two):
            sending.hello()
            sending.schema()
        for batch in batches:
            one.send(batch)
            two.send(batch)
        one.durable(200)
        two.durable(200)
    assert held(collector) == [(1, seq) for seq in range(1, 201)]


def test_another_batch_under_a_seq_that_is_held_is_refused_and_audited(collector: InProcess, sender: Sender) -> None:
    batches = chained(3)
    sender.send(*batches)
    sender.durable(3)
    sender.send(chained(2, seed=7)[1])
    refused = sender.refused()
    assert (refused.seq, refused.code) == (2, upload_pb2.REFUSAL_CODE_CHAIN)
    until(lambda: bool(collector.ledger.audit.listing(action="batch refused", subject=str(STREAM))))
    assert collector.pipeline.archive.read(STREAM, 1, 2).header == batches[1].header


def test_a_batch_that_was_not_sealed_after_the_mark_is_refused(collector: InProcess, sender: Sender) -> None:
    sender.send(*chained(2))
    sender.durable(2)
    sender.send(*chained(1, link=Link(1, 3, b"\x07" * 32)))
    assert sender.refused().code == upload_pb2.REFUSAL_CODE_CHAIN
    assert held(collector) == [(1, 1), (1, 2)]


def test_an_epoch_starts_at_one_on_the_chain_and_ends_the_one_before(collector: InProcess, sender: Sender) -> None:
    old = chained(4)
    sender.send(*old[:3])
    sender.durable(3)
    sender.send(*chained(1, link=Link(2, 2, old[2].chain)))
    assert sender.refused().code == upload_pb2.REFUSAL_CODE_GAP
    sender.more(STREAM)
    sender.send(*chained(1, link=Link(2, 1, GENESIS)))
    assert sender.refused().code == upload_pb2.REFUSAL_CODE_CHAIN
    new = chained(2, link=Link(2, 1, old[2].chain))
    sender.send(*new)
    assert sender.durable(2).epoch == 2
    sender.send(old[3])
    assert sender.refused().code == upload_pb2.REFUSAL_CODE_EPOCH
    assert held(collector) == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]


def test_another_departments_stream_is_refused_and_audited(collector: InProcess, sender: Sender) -> None:
    sender.put(Request(schema=schema_of(THEIRS)))
    sender.send(*chained(1, THEIRS))
    refused = sender.refused()
    assert refused.code == upload_pb2.REFUSAL_CODE_NOT_YOURS
    assert not refused.HasField("mark")
    until(lambda: bool(collector.ledger.audit.listing(action="wrong department", subject=str(THEIRS))))
    assert collector.ledger.streams.get(THEIRS) is None
    sender.send(*chained(1))
    sender.durable(1)


def test_a_hello_for_another_departments_stream_gives_no_mark_of_it(collector: InProcess, sender: Sender) -> None:
    sender.put(Request(more=upload_pb2.UploadHello(streams=[THEIRS.to_proto(), STREAM.to_proto()])))
    assert sender.refused().code == upload_pb2.REFUSAL_CODE_NOT_YOURS
    assert [StreamName.from_proto(mark.stream) for mark in sender.next("marks").marks.marks] == [STREAM]


def test_a_batch_whose_schema_was_not_sent_is_refused_and_taken_once_it_was(
    collector: InProcess, credentials: Credentials
) -> None:
    with Sender(collector.address, credentials) as sending:
        sending.hello()
        sending.send(*chained(1))
        assert sending.refused().code == upload_pb2.REFUSAL_CODE_UNKNOWN_SCHEMA
        sending.schema()
        sending.send(*chained(1))
        sending.durable(1)


def test_a_schema_that_is_not_its_fingerprints_is_not_kept(collector: InProcess, credentials: Credentials) -> None:
    with Sender(collector.address, credentials) as sending:
        sending.hello()
        schema = schema_of(STREAM)
        schema.arrow_schema = schema.arrow_schema[:-1] + b"\xff"
        sending.put(Request(schema=schema))
        sending.send(*chained(1))
        assert sending.refused().code == upload_pb2.REFUSAL_CODE_DIGEST


@pytest.mark.parametrize("declared", [limits.MAX_PAYLOAD_BYTES + 1, 1 << 40, (1 << 64) - 1])
def test_an_oversized_declaration_is_refused_before_anything_is_taken(
    collector: InProcess, sender: Sender, declared: int
) -> None:
    sender.start(declaring(chained(1)[0], declared))
    assert sender.refused().code == upload_pb2.REFUSAL_CODE_LIMIT
    sender.part(b"x" * limits.PART_BYTES)
    sender.send(*chained(1))
    sender.durable(1)


def test_more_parts_than_declared_are_refused(collector: InProcess, sender: Sender) -> None:
    batch = chained(1)[0]
    sender.start(batch.header)
    sender.part(batch.payload + b"x")
    assert sender.refused().code == upload_pb2.REFUSAL_CODE_LIMIT
    sender.send(batch)
    sender.durable(1)


def test_a_batch_cut_short_is_refused_when_the_next_starts(collector: InProcess, sender: Sender) -> None:
    batch = chained(1)[0]
    sender.start(batch.header)
    sender.part(batch.payload[:-1])
    sender.send(*chained(1, OTHER))
    refused = sender.next("refused").refused
    assert (refused.seq, refused.code) == (1, upload_pb2.REFUSAL_CODE_MALFORMED)
    sender.send(batch)
    sender.durable(1)


def test_more_than_the_window_is_refused(tmp_path: Path) -> None:
    """What comes is acknowledged fast; so the archive is held up while the window is filled."""
    settings = init(tmp_path / "data", ["127.0.0.1:0"], "auto")
    settings = replace(settings, receive=replace(settings.receive, window=1 << 20))
    big = chained(2, rows_each=1_000, text_bytes=1400)
    assert len(big[0].payload) * 2 > settings.receive.window > len(big[0].payload)
    with InProcess(settings) as collector:
        go_on, sync = threading.Event(), collector.pipeline.archive.sync
        collector.pipeline.archive.sync = lambda: (go_on.wait(20), sync())[1]  # type: ignore[method-assign]
        with Sender(collector.address, enrolled(settings, collector.ledger)) as sender:
            sender.hello()
            sender.schema()
            sender.send(*big)
            refused = sender.refused()
            assert (refused.seq, refused.code) == (2, upload_pb2.REFUSAL_CODE_LIMIT)
            go_on.set()
            sender.durable(1)
            sender.send(big[1])
            sender.durable(2)


def test_loaded_marks_reach_the_agents_of_the_stream(collector: InProcess, sender: Sender) -> None:
    sender.send(*chained(3))
    sender.durable(3)
    collector.ledger.batches.mark_loaded(STREAM, 1, 2)
    collector.pipeline.loaded.publish(STREAM, 1, 2)
    loaded = sender.next("loaded").loaded
    assert (loaded.epoch, loaded.seq) == (1, 2)


def test_what_another_process_settles_reaches_the_agents_too(collector: InProcess, sender: Sender) -> None:
    sender.send(*chained(3))
    sender.durable(3)
    collector.ledger.batches.mark_loaded(STREAM, 1, 3)
    assert sender.next("loaded").loaded.seq == 3


def test_what_was_sent_before_the_agent_hung_up_properly_is_acknowledged(collector: InProcess, sender: Sender) -> None:
    sender.send(*chained(100))
    sender.finish()
    sender.durable(100)


def test_a_protocol_of_another_version_is_refused(collector: InProcess, credentials: Credentials) -> None:
    with Sender(collector.address, credentials) as sending:
        sending.put(Request(hello=upload_pb2.UploadHello(protocol=99)))
        assert sending.failure().code() is grpc.StatusCode.FAILED_PRECONDITION
    (entry,) = collector.ledger.audit.listing(action="call refused")
    assert "protocol 99" in entry.why


def test_a_ledger_that_another_process_moved_costs_one_refusal_and_no_batch(
    collector: InProcess, sender: Sender
) -> None:
    from forebay_collector.ledger import Arrival

    batches = chained(4)
    sender.send(batches[0])
    sender.durable(1)
    collector.pipeline.archive.write(batches[1])
    collector.pipeline.archive.sync()
    assert collector.ledger.batches.receive([Arrival("other", STREAM, batches[1])]) == []
    sender.send(batches[1])
    assert sender.refused().code == upload_pb2.REFUSAL_CODE_UNAVAILABLE
    sender.send(*batches[1:])
    sender.durable(4)
    assert held(collector) == [(1, seq) for seq in range(1, 5)]


def test_the_first_link_of_a_stream_is_genesis(collector: InProcess, sender: Sender) -> None:
    sender.send(*chained(1, link=Link(FIRST.epoch, 1, b"\x01" * 32)))
    assert sender.refused().code == upload_pb2.REFUSAL_CODE_CHAIN
