"""Loading into a real Iceberg platform: in order, once, each stream by itself, whatever fails on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from forebay_collector.archive import names
from forebay_collector.errors import NotPossible
from forebay_collector.ledger import BatchState
from forebay_collector.load import quarantine
from forebay_collector.load.group import GroupSize
from forebay_collector.load.policy import Kind, LoadPolicy
from forebay_collector.load.pool import LoaderPool
from forebay_collector.platform.contract import OpenedBatch, PlatformError, PlatformMark
from forebay_wire.schema import TableSchema, column
from forebay_wire.seal import Link, seal
from forebay_wire.stream import StreamName
from tests.loading.stage import Moody, Stage
from tests.receiving.batches import SCHEMA, STREAM, chained, rows

OTHER = StreamName("民政局", "低保库", "public.低保对象")
LOADED, DURABLE, QUARANTINED, DISCARDED = (
    BatchState.LOADED,
    BatchState.DURABLE,
    BatchState.QUARANTINED,
    BatchState.DISCARDED,
)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    opened = Stage(tmp_path / "collector")
    yield opened
    opened.close()


def refusing(*seqs: int, permanent: bool = True) -> Callable[[OpenedBatch], Exception | None]:
    def refuses(batch: OpenedBatch) -> Exception | None:
        if batch.seq in seqs:
            return PlatformError("a value does not fit", code="FB-TEST-REFUSES", permanent=permanent)
        return None

    return refuses


def held(stage: Stage, stream: StreamName = STREAM) -> str:
    record = stage.ledger.streams.get(stream)
    assert record is not None
    return record.hold.code if record.hold else ""


def test_durable_batches_are_loaded_once_in_order_and_ledger_and_agent_hear_of_it(stage: Stage) -> None:
    stage.receive(chained(5))
    loader = stage.loader()
    assert loader.load_step(STREAM)
    assert not loader.load_step(STREAM)
    assert stage.loaded(STREAM) == (1, 5)
    assert set(stage.states(STREAM).values()) == {LOADED}
    assert stage.told == [(STREAM, 1, 5)]
    assert stage.history(STREAM) == [(seq, row) for seq in range(1, 6) for row in range(3)]
    assert len(stage.mirror(STREAM)) == 15


def test_one_commit_takes_no_more_than_its_size(stage: Stage) -> None:
    batches = chained(6, rows_each=100, text_bytes=200)
    stage.receive(batches)
    moody = Moody(stage.platform, lambda _: None)
    loader = stage.loader(moody, GroupSize(raw_bytes=2 * batches[0].fields.raw_bytes, linger_s=0))
    while loader.load_step(STREAM):
        pass
    assert moody.applied == [[1, 2], [3, 4], [5, 6]]
    assert stage.loaded(STREAM) == (1, 6)


def test_a_trickle_waits_a_moment_for_more_and_a_full_group_does_not(stage: Stage) -> None:
    batches = chained(3, rows_each=100, text_bytes=200)
    stage.receive(batches)
    patient = stage.loader(size=GroupSize(linger_s=3_600))
    assert not patient.load_step(STREAM)
    full = stage.loader(size=GroupSize(raw_bytes=batches[0].fields.raw_bytes, linger_s=3_600))
    assert full.load_step(STREAM)
    assert stage.loaded(STREAM) == (1, 1)


def test_a_batch_that_the_platform_refuses_holds_its_own_stream_and_no_other(stage: Stage) -> None:
    """A real refusal: a column leaves the table within an epoch."""
    first = chained(1)
    narrow = TableSchema.of([column("id", pa.int64(), "bigint")], ["id"])
    without_text = pa.RecordBatch.from_arrays(
        [entry for name, entry in zip(SCHEMA.arrow.names, rows(9, 2).columns, strict=True) if name != "text"],
        schema=narrow.arrow,
    )
    stage.receive(first)
    stage.receive([seal(STREAM, Link(1, 2, first[0].chain), narrow, without_text, captured_at_us=1)], narrow)
    stage.receive(chained(2, OTHER))
    loader = stage.loader()
    for stream in (STREAM, OTHER, STREAM, OTHER):
        loader.load_step(stream)
    assert stage.states(STREAM) == {1: LOADED, 2: QUARANTINED}
    assert held(stage) == "FB-PLATFORM-SCHEMA"
    assert stage.loaded(STREAM) == (1, 1)
    assert stage.states(OTHER) == {1: LOADED, 2: LOADED}
    assert not held(stage, OTHER)


def test_of_a_group_it_is_the_guilty_batch_that_is_quarantined(stage: Stage) -> None:
    stage.receive(chained(6))
    stage.loader(Moody(stage.platform, refusing(4))).load_step(STREAM)
    assert stage.states(STREAM) == {1: LOADED, 2: LOADED, 3: LOADED, 4: QUARANTINED, 5: DURABLE, 6: DURABLE}
    assert [seq for seq, _ in stage.history(STREAM)] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_what_may_pass_is_tried_again_and_the_attempts_are_seen(stage: Stage) -> None:
    stage.receive(chained(1))
    policies = {kind: LoadPolicy(attempts=5, first_s=0.01, most_s=0.02) for kind in Kind}
    moody = Moody(stage.platform, refusing(1, permanent=False))
    loader = stage.loader(moody, policies=policies)
    for attempt in (1, 2, 3):
        step = loader.step(STREAM)
        assert not step.loaded
        assert 0 < step.pause_s <= 0.02
        batch = stage.ledger.batches.get(STREAM, 1, 1)
        assert batch is not None
        assert (batch.state, batch.attempts, batch.code) == (DURABLE, attempt, "FB-TEST-REFUSES")
    moody.refuses = lambda _: None
    assert loader.load_step(STREAM)
    batch = stage.ledger.batches.get(STREAM, 1, 1)
    assert batch is not None
    assert (batch.state, batch.code, batch.reason) == (LOADED, "", "")


def test_when_the_attempts_are_used_up_the_guilty_batch_is_quarantined(stage: Stage) -> None:
    stage.receive(chained(4))
    policies = {kind: LoadPolicy(attempts=3, first_s=0.01, most_s=0.01) for kind in Kind}
    loader = stage.loader(Moody(stage.platform, refusing(3, permanent=False)), policies=policies)
    for _ in range(8):
        loader.load_step(STREAM)
    assert stage.states(STREAM) == {1: LOADED, 2: LOADED, 3: QUARANTINED, 4: DURABLE}
    assert held(stage) == "FB-TEST-REFUSES"


def test_the_text_of_an_unknown_error_never_reaches_the_ledger(stage: Stage) -> None:
    stage.receive(chained(1))
    secret = "452501197001010017"
    policies = {kind: LoadPolicy(attempts=1) for kind in Kind}
    stage.loader(Moody(stage.platform, lambda _: ValueError(f"cannot take {secret}")), policies=policies).load_step(
        STREAM
    )
    batch = stage.ledger.batches.get(STREAM, 1, 1)
    assert batch is not None
    assert batch.state is QUARANTINED
    assert batch.reason.startswith("ValueError in ")
    assert secret not in batch.reason


def test_replay_loads_the_batch_again_and_is_audited(stage: Stage) -> None:
    stage.receive(chained(3))
    moody = Moody(stage.platform, refusing(2))
    loader = stage.loader(moody)
    loader.load_step(STREAM)
    assert held(stage)
    assert not loader.load_step(STREAM), "a held stream loads nothing"
    moody.refuses = lambda _: None
    with pytest.raises(NotPossible):
        quarantine.replay(stage.ledger, STREAM, 3, who="ops", why="not this one")
    quarantine.replay(stage.ledger, STREAM, 2, who="ops", why="type was widened")
    assert loader.load_step(STREAM)
    assert stage.loaded(STREAM) == (1, 3)
    assert stage.history(STREAM) == [(seq, row) for seq in (1, 2, 3) for row in range(3)]
    entry = stage.ledger.audit.listing(action="replay")[0]
    assert (entry.who, entry.subject, entry.why) == ("ops", f"{STREAM} 1/2", "type was widened")
    with pytest.raises(NotPossible, match="not held"):
        quarantine.replay(stage.ledger, STREAM, None, who="ops", why="again")


def test_discard_moves_on_behind_the_batch_is_audited_and_leaves_a_stated_gap(stage: Stage) -> None:
    stage.receive(chained(4))
    loader = stage.loader(Moody(stage.platform, refusing(2)))
    loader.load_step(STREAM)
    with pytest.raises(NotPossible, match="reason"):
        quarantine.discard(stage.ledger, STREAM, 2, who="ops", why="  ")
    quarantine.discard(stage.ledger, STREAM, 2, who="ops", why="test rows, agreed")
    assert stage.loaded(STREAM) == (1, 2), "the mark moves past it"
    assert loader.load_step(STREAM)
    assert stage.states(STREAM) == {1: LOADED, 2: DISCARDED, 3: LOADED, 4: LOADED}
    assert {seq for seq, _ in stage.history(STREAM)} == {1, 3, 4}
    assert stage.archive.read(STREAM, 1, 2).seq == 2, "it stays in the archive"
    batch = stage.ledger.batches.get(STREAM, 1, 2)
    assert batch is not None
    assert batch.code == "FB-TEST-REFUSES", "and why it was refused stays in the ledger"
    entry = stage.ledger.audit.listing(action="discard")[0]
    assert (entry.who, entry.subject, entry.why) == ("ops", f"{STREAM} 1/2", "test rows, agreed")


def test_a_discarded_last_batch_is_not_undone_by_settling(stage: Stage) -> None:
    stage.receive(chained(2))
    loader = stage.loader(Moody(stage.platform, refusing(2)))
    loader.load_step(STREAM)
    quarantine.discard(stage.ledger, STREAM, None, who="ops", why="given up")
    stage.loader().settle()
    assert stage.loaded(STREAM) == (1, 2)
    assert stage.states(STREAM) == {1: LOADED, 2: DISCARDED}


@pytest.mark.parametrize("damage", ["flipped", "cut short", "gone"])
def test_a_damaged_archive_file_is_named_and_holds_its_stream_until_it_is_restored(stage: Stage, damage: str) -> None:
    stage.receive(chained(3))
    stage.receive(chained(1, OTHER))
    path = stage.archive.root / names.batch_file(STREAM, 1, 2)
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-9] if damage == "cut short" else whole[:-1] + bytes([whole[-1] ^ 1]))
    loader = stage.loader()
    loader.load_step(STREAM)
    assert loader.load_step(OTHER)
    assert stage.states(STREAM) == {1: LOADED, 2: QUARANTINED, 3: DURABLE}
    record = stage.ledger.streams.get(STREAM)
    assert record is not None
    assert record.hold is not None
    assert record.hold.code == ("FB-ARCHIVE-MISSING" if damage == "gone" else "FB-ARCHIVE-DAMAGED")
    assert str(path) in record.hold.reason
    path.write_bytes(whole)
    quarantine.replay(stage.ledger, STREAM, None, who="ops", why="restored from the copy")
    assert loader.load_step(STREAM)
    assert stage.loaded(STREAM) == (1, 3)


def test_the_pool_loads_many_streams_and_a_held_one_does_not_stop_them(stage: Stage) -> None:
    streams = [StreamName("市监局", "登记库", f"public.表{number}") for number in range(5)]
    for stream in streams:
        stage.receive(chained(3, stream))
    moody = Moody(stage.platform, lambda _: None)
    stop_one = streams[2]
    loading: dict[StreamName, int] = {}
    lock = threading.Lock()

    class Watched(Moody):
        def apply(self, stream: StreamName, batches: Sequence[OpenedBatch]) -> PlatformMark:
            with lock:
                assert not loading.get(stream), "one stream is loaded by one thread at a time"
                loading[stream] = 1
            try:
                if stream == stop_one:
                    raise PlatformError("no", code="FB-TEST-REFUSES", permanent=True)
                return moody.apply(stream, batches)
            finally:
                with lock:
                    loading[stream] = 0

    deaths: list[BaseException] = []
    pool = LoaderPool(
        stage.loader(Watched(stage.platform, lambda _: None)),
        stage.ledger,
        on_death=lambda _, error: deaths.append(error),
        threads=3,
    )
    pool.start()
    try:
        deadline = time.monotonic() + 30
        while stage.ledger.streams.waiting():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        assert pool.stop()
    assert not deaths
    for stream in streams:
        assert stage.loaded(stream) == ((0, 0) if stream == stop_one else (1, 3))
    assert held(stage, stop_one) == "FB-TEST-REFUSES"


def test_a_thread_that_dies_says_so(stage: Stage) -> None:
    deaths: list[tuple[str, BaseException]] = []
    pool = LoaderPool(stage.loader(), stage.ledger, on_death=lambda *death: deaths.append(death), threads=1)
    pool.start()
    stage.ledger.streams.waiting = None  # type: ignore[method-assign,assignment]
    deadline = time.monotonic() + 5
    while not deaths and time.monotonic() < deadline:
        time.sleep(0.02)
    assert pool.stop()
    assert [name for name, _ in deaths] == ["load-0"]
