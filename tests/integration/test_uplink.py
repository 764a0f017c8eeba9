"""The uplink against a collector that answers as each test wants, over real gRPC, TLS and SQLite."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from forebay_agent.config.model import CollectorConfig
from forebay_agent.errors import OutboxDamaged
from forebay_agent.policy import Reaction, policy_of
from forebay_agent.uplink import lane
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import upload_pb2
from tests.custody.flips import flip_column
from tests.daemon.scripted import Refusal, Script, ScriptedCollector
from tests.daemon.uplink_site import Site, site, until
from tests.receiving.batches import DEPARTMENT, SCHEMA, STREAM

OTHER = StreamName(DEPARTMENT, "登记库", "public.个体户")


@pytest.fixture(autouse=True)
def _held_lanes_ask_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay_agent.uplink.session.HELD_SECONDS", 0.3)
    assert lane.HELD_SECONDS == 30.0


def test_everything_is_sent_in_order_and_leaves_only_when_it_is_durable(tmp_path: Path) -> None:
    script = Script(answers=False)
    with site(tmp_path, script) as agent:
        agent.put(20)
        agent.put(10, OTHER)
        agent.start()
        until(lambda: len(script.came) == 30)
        agent.put(1)  # the uplink turns once more
        until(lambda: len(script.came) == 31)
        time.sleep(0.2)
        assert agent.waiting() == 31
        script.answers = True
        agent.collector.cut()
        until(lambda: agent.waiting() == 0)
        assert script.seqs(STREAM) == [(1, seq) for seq in range(1, 22)]
        assert script.seqs(OTHER) == [(1, seq) for seq in range(1, 11)]


def test_a_lost_ack_costs_at_most_a_second_sending_and_never_doubles(tmp_path: Path) -> None:
    script = Script(answers=False)
    with site(tmp_path, script) as agent:
        agent.start()
        batches = []
        for number in range(1, 6):
            batches += agent.put(4)
            until(lambda awaited=4 * number: len(script.taken.get(STREAM, [])) == awaited)  # type: ignore[misc]
            agent.collector.cut()
        until(lambda: agent.waiting() == 0)  # the marks say what was durable
        assert [batch.header for batch in script.taken[STREAM]] == [batch.header for batch in batches]


def test_a_batch_put_while_the_line_is_idle_goes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the next look: nobody waits for that here."""
    monkeypatch.setattr("forebay_agent.uplink.session._REST_SECONDS", 600.0)
    monkeypatch.setattr("forebay_agent.uplink.sending._LOOK_SECONDS", 600.0)
    script = Script()
    with site(tmp_path, script) as agent:
        agent.start()
        until(lambda: agent.uplink.state.connected)
        agent.put(1)
        until(lambda: agent.waiting() == 0)
        until(lambda: agent.uplink._session is not None and agent.uplink._session._rests)
        time.sleep(1)  # so that it has gone to rest
        agent.put(1)
        until(lambda: agent.waiting() == 0)


def test_the_window_is_never_passed(tmp_path: Path) -> None:
    script = Script(window=200_000, answers=False)
    with site(tmp_path, script) as agent:
        batches = agent.put(12, text_bytes=60_000)
        sizes = [len(batch.payload) for batch in batches]
        agent.start()
        until(lambda: len(script.came) > 0)
        time.sleep(0.5)
        sent = sum(sizes[: len(script.came)])
        assert 200_000 - max(sizes) <= sent <= 200_000


@pytest.mark.parametrize(
    "code", [upload_pb2.REFUSAL_CODE_UNAVAILABLE, upload_pb2.REFUSAL_CODE_GAP, upload_pb2.REFUSAL_CODE_LIMIT]
)
def test_what_may_be_tried_again_is_and_arrives_in_order(
    tmp_path: Path, code: upload_pb2.RefusalCode.ValueType
) -> None:
    left = [3]

    def refuse(batch: SealedBatch) -> Refusal | None:
        if batch.seq == 3 and batch.stream == STREAM and left[0]:
            left[0] -= 1
            return code, "not now"
        return None

    script = Script(refuse)
    with site(tmp_path, script) as agent:
        agent.put(8)
        agent.put(8, OTHER)
        agent.start()
        until(lambda: agent.waiting() == 0)
        assert left == [0]
        assert script.seqs(STREAM) == [(1, seq) for seq in range(1, 9)]
        assert script.connections == 1, "one stream's refusal ended the connection"
        until(lambda: agent.board.of(STREAM).trouble is None)


def test_a_schema_that_the_collector_forgot_is_sent_again(tmp_path: Path) -> None:
    def refuse(batch: SealedBatch) -> Refusal | None:
        return (upload_pb2.REFUSAL_CODE_UNKNOWN_SCHEMA, "which?") if len(script.schemas) < 2 else None

    script = Script(refuse)
    with site(tmp_path, script) as agent:
        agent.put(3)
        agent.start()
        until(lambda: agent.waiting() == 0)
        assert script.schemas == [SCHEMA.fingerprint] * 2


@pytest.mark.parametrize(
    "code", [upload_pb2.REFUSAL_CODE_DIGEST, upload_pb2.REFUSAL_CODE_CHAIN, upload_pb2.REFUSAL_CODE_MALFORMED]
)
def test_a_refused_batch_holds_its_stream_alone_until_a_reset_goes_on_from_the_collectors_mark(
    tmp_path: Path, code: upload_pb2.RefusalCode.ValueType
) -> None:
    script = Script(
        lambda batch: (code, "damaged") if batch.stream == STREAM and (batch.epoch, batch.seq) == (1, 3) else None
    )
    with site(tmp_path, script) as agent:
        first = agent.put(5)[:2]
        agent.start()
        until(lambda: agent.board.of(STREAM).state == "held")
        agent.put(4, OTHER)
        until(lambda: len(script.seqs(OTHER)) == 4)
        trouble = agent.board.of(STREAM).trouble
        assert trouble is not None
        assert trouble.code == "FB-BATCH-REFUSED"
        until(lambda: agent.waiting() == 3)
        assert "damaged" in trouble.reason
        record = agent.outbox.reset(STREAM, who="ops", why="bad disk")
        assert record.chain == first[-1].chain
        agent.put(2)
        until(lambda: agent.waiting() == 0)
        assert script.seqs(STREAM) == [(1, 1), (1, 2), (2, 1), (2, 2)]
        until(lambda: agent.board.of(STREAM).trouble is None)
        assert agent.outbox.stream(STREAM).hold is None


def test_a_refusal_that_is_mended_at_the_centre_resumes_by_itself(tmp_path: Path) -> None:
    script = Script(lambda _: (upload_pb2.REFUSAL_CODE_NOT_YOURS, "no"))
    with site(tmp_path, script) as agent:
        agent.put(3)
        agent.start()
        until(lambda: agent.board.of(STREAM).state == "held")
        script.refuse = lambda _: None
        until(lambda: agent.waiting() == 0)
        until(lambda: agent.board.of(STREAM).trouble is None)
        assert agent.outbox.stream(STREAM).hold is None


def test_a_lost_state_is_held_and_a_reset_starts_after_what_the_collector_has(tmp_path: Path) -> None:
    """The state folder was lost: the collector holds epoch 3, this outbox begins at epoch 1."""
    script = Script()
    chain = b"\x05" * 32
    script.marks[STREAM] = upload_pb2.Mark(stream=STREAM.to_proto(), epoch=3, durable_seq=41, durable_chain=chain)
    with site(tmp_path, script) as agent:
        agent.put(2)
        agent.start()
        until(lambda: agent.board.of(STREAM).state == "held")
        trouble = agent.board.of(STREAM).trouble
        assert trouble is not None
        assert trouble.code == "FB-STATE-LOST"
        assert script.came == []
        record = agent.outbox.reset(STREAM, who="ops", why="disk replaced")
        assert (record.epoch, record.chain) == (4, chain)
        until(lambda: agent.board.of(STREAM).trouble is None)
        (batch,) = agent.put(1)
        until(lambda: (STREAM, 4, 1) in script.came)
        assert batch.fields.previous_chain == chain


def test_a_collector_that_forgot_what_it_confirmed_is_held_not_skipped(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.put(4)
        agent.start()
        until(lambda: agent.waiting() == 0)
        kept, script.taken[STREAM] = script.taken[STREAM], script.taken[STREAM][:2]
        agent.put(1)
        agent.collector.cut()
        until(lambda: agent.board.of(STREAM).state == "held")
        trouble = agent.board.of(STREAM).trouble
        assert trouble is not None
        assert (trouble.code, agent.waiting()) == ("FB-COLLECTOR-BEHIND", 1)
        script.taken[STREAM] = kept  # the newest backup was brought back
        until(lambda: agent.waiting() == 0)
        assert script.seqs(STREAM) == [(1, seq) for seq in range(1, 6)]


def test_an_acknowledgement_of_something_else_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()

    def lie(batch: SealedBatch, _holding: set[StreamName]) -> Iterator[upload_pb2.UploadResponse]:
        yield upload_pb2.UploadResponse(
            durable=upload_pb2.Durable(stream=STREAM.to_proto(), epoch=1, seq=batch.seq, chain=b"\x07" * 32)
        )

    monkeypatch.setattr(script, "_take", lie)
    with site(tmp_path, script) as agent:
        agent.put(2)
        agent.start()
        until(lambda: agent.board.of(STREAM).state == "held")
        assert agent.waiting() == 2


def test_the_next_address_is_tried_when_one_is_dead(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.uplink._config = CollectorConfig(
            addresses=("127.0.0.1:1", agent.collector.address), backoff_first=timedelta(milliseconds=20)
        )
        agent.put(1)
        agent.start()
        until(lambda: agent.waiting() == 0)
        assert agent.uplink.state.address == agent.collector.address


def test_an_expired_certificate_is_named_with_its_remedy_and_a_new_one_is_taken_up(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.collector.enrol(tmp_path / "state", life=timedelta(seconds=-5))
        agent.put(1)
        agent.start()
        until(lambda: agent.uplink.state.trouble is not None)
        trouble = agent.uplink.state.trouble
        assert trouble is not None
        assert trouble.code == "FB-CERTIFICATE"
        assert "expired" in trouble.reason
        assert "enroll" in trouble.remedy
        agent.collector.enrol(tmp_path / "state")
        until(lambda: agent.waiting() == 0)


def test_a_collector_of_another_authority_is_not_talked_to(tmp_path: Path) -> None:
    script, stranger = Script(), Script()
    with site(tmp_path, script) as agent, ScriptedCollector(tmp_path / "stranger", stranger) as other:
        agent.uplink._config = CollectorConfig(addresses=(other.address,))
        agent.put(1)
        agent.start()
        until(lambda: agent.uplink.state.trouble is not None)
        trouble = agent.uplink.state.trouble
        assert trouble is not None
        assert trouble.code == "FB-CERTIFICATE"
        assert stranger.connections == 0


def test_nothing_of_the_readers_stays_open(tmp_path: Path) -> None:
    """Many connections do not use up file descriptors."""
    script = Script()
    with site(tmp_path, script) as agent:
        agent.start()
        until(lambda: agent.uplink.state.connected)
        open_files = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(15):
            connections = script.connections
            agent.collector.cut()
            until(lambda: script.connections > connections)  # noqa: B023 - used at once
        with closing(agent.outbox.reader()):
            time.sleep(0.5)
            assert len(list(Path("/proc/self/fd").iterdir())) < open_files + 12


@pytest.mark.parametrize("seed", range(3))
def test_a_bit_that_the_disk_turned_in_the_outbox_is_named_and_never_sent(tmp_path: Path, seed: int) -> None:
    script = Script()
    chance = random.Random(seed)
    with ScriptedCollector(tmp_path / "authority", script) as collector:
        state = tmp_path / "state"
        collector.enrol(state)
        agent = Site(state, collector)
        batches = agent.put(6, text_bytes=500)
        flip = flip_column(state / "outbox.db", "batch", chance.choice(["header", "payload", "size", "chain"]), chance)
        assert flip.batch is not None
        with pytest.raises(OutboxDamaged) as damaged:
            agent.uplink.run()
        agent.stop()
        assert f"epoch 1 seq {flip.batch[1]}" in str(damaged.value), flip
        assert policy_of(damaged.value).reaction is Reaction.STOP
        came = script.taken.get(STREAM, [])
        assert [batch.header for batch in came] == [batch.header for batch in batches[: len(came)]]
        assert len(came) < flip.batch[1]
