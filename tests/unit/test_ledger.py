"""The ledger keeps what it was told, in order, and its marks only ever advance."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from forebay_collector.errors import (
    LedgerDamaged,
    LedgerUnavailable,
    LedgerVersion,
    NotKnown,
    NotPossible,
    TokenRefused,
)
from forebay_collector.ledger import Arrival, BatchState, Ledger
from forebay_collector.ledger.migrate import migrate, migrations, version
from forebay_collector.ledger.tables import METADATA
from forebay_wire.digest import GENESIS
from forebay_wire.seal import Link
from forebay_wire.stream import StreamName
from tests.receiving.batches import DEPARTMENT, SCHEMA, STREAM, chained

OTHER = StreamName("民政局", "救助库", "public.低保")


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        self.now += 1_000
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db", clock)
    yield opened
    opened.close()


def arrive(ledger: Ledger, count: int, stream: StreamName = STREAM, agent: str = "a1") -> list[Arrival]:
    """The next `count` batches of the stream, received."""
    record = ledger.streams.get(stream)
    link = Link(record.epoch, record.durable_seq + 1, record.durable_chain) if record else Link(1, 1, GENESIS)
    arrivals = [Arrival(agent, stream, batch) for batch in chained(count, stream, link)]
    assert ledger.batches.receive(arrivals) == []
    return arrivals


def waiting(ledger: Ledger) -> list[StreamName]:
    return ledger.streams.waiting()


def durable(ledger: Ledger) -> list[tuple[int, int]]:
    found = ledger.batches.listing(stream=STREAM, state=BatchState.DURABLE, limit=1_000)
    return sorted((one.epoch, one.seq) for one in found)


def states(ledger: Ledger, stream: StreamName = STREAM) -> dict[int, str]:
    return {one.seq: one.state.value for one in ledger.batches.listing(stream=stream, limit=1_000)}


def test_every_migration_goes_up_and_down_and_up_again(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db")
    newest = migrations()[-1].number
    assert [migration.number for migration in migrations()] == list(range(1, newest + 1))
    for target in [*range(newest, -1, -1), *range(newest + 1), 0, newest]:
        migrate(ledger.database, target)
        with ledger.database.read() as connection:
            assert version(connection) == target
            tables = set(inspect(connection).get_table_names()) - {"ledger_version", "sqlite_sequence"}
            assert bool(tables) == (target > 0)
    ledger.close()


def test_queries_see_the_tables_that_the_migrations_make(ledger: Ledger) -> None:
    with ledger.database.read() as connection:
        made = inspect(connection)
        assert set(made.get_table_names()) == {*METADATA.tables, "ledger_version"}
        for name, table in METADATA.tables.items():
            columns = made.get_columns(name)
            assert [column["name"] for column in columns] == [column.name for column in table.columns]
            assert [column["nullable"] for column in columns] == [False] * len(columns)
            key = made.get_pk_constraint(name)["constrained_columns"]
            assert set(key) == {column.name for column in table.primary_key}


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db")
    with ledger.database.write() as connection:
        connection.execute(text("UPDATE ledger_version SET number = 9999"))
    ledger.close()
    with pytest.raises(LedgerVersion):
        Ledger.open(tmp_path / "ledger.db")


def test_a_damaged_ledger_is_never_taken_for_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger.open(path).close()
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(LedgerDamaged):
        Ledger.open(path)


def test_a_ledger_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable):
        Ledger.open(tmp_path / "missing" / "ledger.db")


def test_commits_are_on_disk_when_they_return(ledger: Ledger) -> None:
    with ledger.database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2


def test_a_received_batch_has_all_that_its_header_says(ledger: Ledger, clock: Clock) -> None:
    arrival = arrive(ledger, 1)[0]
    fields = arrival.batch.fields
    record = ledger.batches.get(STREAM, 1, 1)
    assert record is not None
    assert (record.stream, record.agent, record.epoch, record.seq) == (STREAM, "a1", 1, 1)
    assert (record.rows, record.inserts, record.reads, record.updates, record.deletes) == (3, 3, 0, 0, 0)
    assert (record.first_position, record.last_position) == (fields.first_position, fields.last_position)
    assert record.bytes == arrival.batch.size
    assert 0 < record.received_at <= clock.now
    assert record.state is BatchState.DURABLE
    assert ledger.batches.header(STREAM, 1, 1) == arrival.batch.header
    assert ledger.batches.header(STREAM, 1, 2) is None


def test_what_does_not_attach_is_left_and_holds_up_no_other_stream(ledger: Ledger) -> None:
    arrive(ledger, 2)
    gap = [Arrival("a1", STREAM, batch) for batch in chained(5)[3:]]
    fine = [Arrival("b1", OTHER, batch) for batch in chained(2, OTHER)]
    assert ledger.batches.receive([*gap, *fine]) == gap
    assert states(ledger) == {1: "durable", 2: "durable"}
    assert states(ledger, OTHER) == {1: "durable", 2: "durable"}
    twice = [Arrival("a1", STREAM, batch) for batch in chained(2)]
    assert ledger.batches.receive(twice) == twice
    stream = ledger.streams.get(STREAM)
    assert stream is not None
    assert stream.durable == (1, 2)


def test_an_epoch_follows_on_the_chain_and_older_ones_are_loaded_first(ledger: Ledger) -> None:
    last = arrive(ledger, 3)[-1].batch
    new = [Arrival("a1", STREAM, batch) for batch in chained(2, link=Link(2, 1, last.chain))]
    assert ledger.batches.receive(new) == []
    assert durable(ledger) == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    assert ledger.batches.mark_loaded(STREAM, 2, 1)
    assert durable(ledger) == [(2, 2)]


def test_progress_never_moves_backwards_nor_beyond_what_is_durable(ledger: Ledger) -> None:
    arrive(ledger, 20)
    noise = random.Random(20)
    reached = 0
    for _ in range(200):
        epoch, seq = noise.choice([0, 1, 1, 1, 2]), noise.randrange(0, 25)
        moved = ledger.batches.mark_loaded(STREAM, epoch, seq)
        assert moved == (epoch == 1 and reached < seq <= 20)
        reached = max(reached, seq) if moved else reached
        stream = ledger.streams.get(STREAM)
        assert stream is not None
        assert stream.loaded == ((1, reached) if reached else (0, 0))
    assert states(ledger) == {seq: "loaded" if seq <= reached else "durable" for seq in range(1, 21)}


def test_a_quarantined_batch_holds_its_stream_and_no_other(ledger: Ledger) -> None:
    arrive(ledger, 3)
    arrive(ledger, 2, OTHER)
    assert waiting(ledger) == [STREAM, OTHER]
    ledger.batches.mark_loaded(STREAM, 1, 1)
    ledger.quarantine.put(STREAM, 1, 2, "FB-X", "does not fit")
    assert waiting(ledger) == [OTHER]
    stream = ledger.streams.listing(held=True)[0]
    assert stream.hold is not None
    assert (stream.hold.code, stream.hold.epoch, stream.hold.seq) == ("FB-X", 1, 2)
    assert [one.seq for one in ledger.batches.listing(state=BatchState.QUARANTINED)] == [2]
    arrive(ledger, 1)  # receiving goes on


def test_replay_lets_the_batch_and_its_stream_go_on(ledger: Ledger) -> None:
    arrive(ledger, 2)
    assert ledger.batches.note_failure(STREAM, 1, 1, "FB-X", "no") == 1
    ledger.quarantine.put(STREAM, 1, 1, "FB-X", "no")
    released = ledger.quarantine.release(STREAM, who="张三", why="corrected")
    assert (released.state, released.attempts, released.code) == (BatchState.DURABLE, 0, "")
    assert durable(ledger) == [(1, 1), (1, 2)]
    entry = ledger.audit.listing(action="replay")[0]
    assert (entry.who, entry.why, entry.subject) == ("张三", "corrected", f"{STREAM} 1/1")


def test_discard_gives_one_batch_up_and_says_who_and_why(ledger: Ledger) -> None:
    arrive(ledger, 3)
    ledger.batches.mark_loaded(STREAM, 1, 1)
    ledger.quarantine.put(STREAM, 1, 2, "FB-X", "no")
    ledger.quarantine.discard(STREAM, who="李四", why="duplicate")
    assert states(ledger) == {1: "loaded", 2: "discarded", 3: "durable"}
    assert durable(ledger) == [(1, 3)]
    assert ledger.batches.mark_loaded(STREAM, 1, 3)
    assert waiting(ledger) == []
    assert states(ledger)[2] == "discarded"
    assert ledger.audit.listing(action="discard")[0].why == "duplicate"


def test_a_discarded_last_batch_leaves_nothing_waiting(ledger: Ledger) -> None:
    arrive(ledger, 1)
    ledger.quarantine.put(STREAM, 1, 1, "FB-X", "no")
    ledger.quarantine.discard(STREAM, who="x", why="y")
    assert waiting(ledger) == []


def test_only_what_is_quarantined_is_replayed_or_discarded(ledger: Ledger) -> None:
    with pytest.raises(NotKnown):
        ledger.quarantine.release(STREAM, who="x", why="y")
    arrive(ledger, 1)
    with pytest.raises(NotPossible):
        ledger.quarantine.discard(STREAM, who="x", why="y")
    with pytest.raises(NotKnown):
        ledger.quarantine.put(STREAM, 1, 9, "FB-X", "no")
    ledger.batches.mark_loaded(STREAM, 1, 1)
    with pytest.raises(NotPossible):
        ledger.quarantine.put(STREAM, 1, 1, "FB-X", "no")


def test_listings_filter(ledger: Ledger) -> None:
    arrive(ledger, 3)
    middle = ledger.database.clock()
    arrive(ledger, 2, OTHER, agent="b1")
    arrive(ledger, 1)
    listing = ledger.batches.listing
    assert len(listing()) == 6
    assert len(listing(limit=2)) == 2
    assert {one.stream for one in listing(department="民政局")} == {OTHER}
    assert {one.stream for one in listing(agent="a1")} == {STREAM}
    assert len(listing(since=middle)) == 3
    assert [one.seq for one in listing(stream=STREAM)] == [4, 3, 2, 1]
    assert listing(stream=StreamName("x", "y", "z")) == []
    assert [one.name for one in ledger.streams.listing(department="民政局")] == [OTHER]


def test_the_loaders_queries_use_an_index_of_just_the_durable_batches(ledger: Ledger) -> None:
    arrive(ledger, 2)
    plan = "EXPLAIN QUERY PLAN SELECT header FROM batch WHERE stream_id = 1 AND state = 'durable' ORDER BY epoch, seq"
    with ledger.database.read() as connection:
        steps = [row[3] for row in connection.execute(text(plan))]
    assert len(steps) == 1
    assert "batch_durable" in steps[0]


def test_what_expired_leaves_the_list_of_what_can(ledger: Ledger, clock: Clock) -> None:
    arrive(ledger, 3)
    ledger.batches.mark_loaded(STREAM, 1, 2)
    over = ledger.batches.expirable(clock.now + 1)
    assert [one.seq for one in over] == [1, 2]
    assert ledger.batches.expirable(over[0].loaded_at) == []
    ledger.batches.mark_expired(over[:1])
    assert [one.seq for one in ledger.batches.expirable(clock.now + 1)] == [2]
    assert ledger.batches.header(STREAM, 1, 1) is not None


def test_schemas_are_kept_once_per_stream(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.schemas.put_schema(STREAM, SCHEMA.fingerprint, SCHEMA.serialized, agent="a1")
    assert ledger.schemas.schema(STREAM, SCHEMA.fingerprint) == SCHEMA.serialized
    assert ledger.schemas.schema(OTHER, SCHEMA.fingerprint) is None
    assert ledger.schemas.put_dictionary(STREAM, "7", b"abc", agent="a1")
    assert ledger.schemas.put_dictionary(STREAM, "7", b"abc", agent="a1")
    assert not ledger.schemas.put_dictionary(STREAM, "7", b"abd", agent="a1")
    assert ledger.schemas.dictionary(STREAM, "7") == b"abc"
    assert ledger.schemas.known(STREAM) == ({SCHEMA.fingerprint}, {"7"})


def test_a_token_is_spent_once_whoever_comes_at_the_same_time(ledger: Ledger, clock: Clock) -> None:
    ledger.tokens.add(b"h" * 32, agent="a1", department=DEPARTMENT, expires_at=clock.now + 10**12, who="root")
    outcomes: list[str] = []

    def use(serial: str) -> None:
        try:
            ledger.tokens.use(b"h" * 32, serial=serial, expires_at=2**60, hostname="h", version="1")
            outcomes.append(serial)
        except TokenRefused:
            outcomes.append("")

    threads = [threading.Thread(target=use, args=(f"{number:x}",)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [serial for serial in outcomes if serial]
    assert (len(outcomes), len(winners)) == (8, 1)
    agent = ledger.agents.get("a1")
    assert agent is not None
    assert agent.serial == winners[0]


def test_an_expired_token_is_refused(ledger: Ledger, clock: Clock) -> None:
    ledger.tokens.add(b"h" * 32, agent="a1", department=DEPARTMENT, expires_at=clock.now - 1, who="root")
    with pytest.raises(TokenRefused):
        ledger.tokens.use(b"h" * 32, serial="1", expires_at=2**60, hostname="h", version="1")
    assert ledger.agents.get("a1") is None


def test_enrolling_again_replaces_the_certificate_and_lifts_a_revocation(ledger: Ledger, clock: Clock) -> None:
    for number in (1, 2):
        secret = bytes([number]) * 32
        ledger.tokens.add(secret, agent="a1", department=DEPARTMENT, expires_at=clock.now + 10**9, who="root")
        ledger.tokens.use(secret, serial=f"{number}", expires_at=2**60, hostname="h", version="1")
        agent = ledger.agents.get("a1")
        assert agent is not None
        assert (agent.serial, agent.revoked_at) == (f"{number}", 0)
        ledger.agents.revoke("a1", who="root", why="test")
    agent = ledger.agents.get("a1")
    assert agent is not None
    assert agent.revoked_at > 0
    with pytest.raises(NotPossible):
        ledger.tokens.add(b"x" * 32, agent="a1", department="民政局", expires_at=1, who="root")
    with pytest.raises(NotKnown):
        ledger.agents.revoke("nobody", who="root", why="test")


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.database.write() as connection:
            connection.execute(text("INSERT INTO audit VALUES (1, 1, 'a', 'b', 'c', 'd', '{}', '', x'', x'')"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert ledger.audit.listing() == []


def test_readers_are_not_held_up_by_a_writer(ledger: Ledger) -> None:
    arrive(ledger, 1)
    with ledger.database.write() as connection:
        connection.execute(text("DELETE FROM batch"))
        seen: list[int] = []
        reader = threading.Thread(target=lambda: seen.append(len(ledger.batches.listing())))
        reader.start()
        reader.join(5)
        assert seen == [1]
        connection.rollback()
