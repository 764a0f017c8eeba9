"""What people ask for about streams, batches, quarantine and verification: scoped, paged, audited."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from forebay_collector.archive import LocalArchive
from forebay_collector.errors import AgentUnreachable, NotKnown, NotPermitted, NotPossible
from forebay_collector.ledger import BatchState, repairs
from forebay_collector.ledger.verifications import VerificationState
from forebay_collector.platform.contract import PlatformError
from forebay_collector.service import batches, fleet, quarantine, repair, streams, verification
from forebay_collector.service import verifier as verifier_module
from forebay_collector.service.actor import Actor, Role
from forebay_collector.service.verifier import Verifier
from forebay_collector.verify.verify import Patience
from forebay_wire.seal import Link
from forebay_wire.stream import StreamName
from tests.consoling.people import ROOT
from tests.loading.stage import Moody, Stage
from tests.receiving.batches import DEPARTMENT, FIRST, STREAM, chained

OTHER = StreamName("民政局", "db", "main.permit")
CANARY = StreamName(DEPARTMENT, "db", "forebay.canary")
VIEWER = Actor("seer", frozenset({Role.VIEWER}))
OPERATOR = Actor("ops", frozenset({Role.OPERATOR}), None, "console")
OF_OTHER = Actor("mz", frozenset({Role.OPERATOR}), frozenset({"民政局"}), "console")
SECOND = 1_000_000


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    opened = Stage(tmp_path / "collector")
    yield opened
    opened.close()


def refuse(stage: Stage, stream: StreamName) -> None:
    error = PlatformError("a value does not fit", code="FB-TEST-REFUSES", permanent=True)
    stage.loader(Moody(stage.platform, lambda _: error)).load_step(stream)


def test_what_an_actor_may_not_see_is_not_there(stage: Stage) -> None:
    stage.receive(chained(2))
    stage.receive(chained(2, OTHER))
    assert [view.name for view in streams.streams(stage.ledger, OF_OTHER)] == [OTHER]
    assert {batch.stream for batch in batches.batches(stage.ledger, OF_OTHER)} == {OTHER}
    for ask in (
        lambda: streams.stream(stage.ledger, OF_OTHER, STREAM),
        lambda: streams.schemas(stage.ledger, OF_OTHER, STREAM),
        lambda: streams.history(stage.ledger, OF_OTHER, STREAM, since_us=0),
        lambda: streams.sample(stage.ledger, lambda: stage.platform, OF_OTHER, STREAM),
        lambda: batches.custody(stage.ledger, OF_OTHER, STREAM, 1, 1),
        lambda: batches.in_archive(stage.ledger, stage.archive, OF_OTHER, STREAM, 1, 1),
        lambda: verification.start(stage.ledger, OF_OTHER, [OTHER, STREAM]),
    ):
        with pytest.raises(NotKnown):
            ask()
    assert verification.runs(stage.ledger, ROOT) == []
    with pytest.raises(NotPermitted):
        batches.batches(stage.ledger, OF_OTHER, department=DEPARTMENT)


def test_a_viewer_decides_nothing(stage: Stage) -> None:
    stage.receive(chained(2))
    refuse(stage, STREAM)
    for deed in (quarantine.replay, quarantine.discard):
        with pytest.raises(NotPermitted):
            deed(stage.ledger, VIEWER, [STREAM], "why")
    with pytest.raises(NotPermitted):
        verification.start(stage.ledger, VIEWER, [STREAM])
    assert stage.states(STREAM)[1] is BatchState.QUARANTINED
    assert quarantine.count(stage.ledger, VIEWER) == 1


def test_a_decision_is_about_the_batch_that_was_seen(stage: Stage) -> None:
    stage.receive(chained(2))
    refuse(stage, STREAM)
    (held,) = quarantine.held(stage.ledger, OPERATOR)
    assert (held.code, held.batches_waiting, held.rows_waiting) == ("FB-TEST-REFUSES", 2, 6)
    (wrong,) = quarantine.replay(stage.ledger, OPERATOR, [STREAM], "why", only={STREAM: (1, 2)})
    assert isinstance(wrong.error, NotPossible)
    (wrong,) = quarantine.replay(stage.ledger, OPERATOR, [STREAM], "why", only={STREAM: (2, 1)})
    assert isinstance(wrong.error, NotPossible)
    (done,) = quarantine.discard(stage.ledger, OPERATOR, [STREAM], "test rows", only={STREAM: (1, 1)})
    assert done.batch is not None
    assert done.batch.state is BatchState.DISCARDED
    (entry,) = stage.ledger.audit.listing(action="discard")
    assert (entry.who, entry.why, entry.detail["via"]) == ("ops", "test rows", "console")


def test_pages_of_batches_hold_every_batch_once_whatever_comes_meanwhile(stage: Stage) -> None:
    stage.receive(chained(7))
    stage.receive(chained(6, OTHER))
    seen = []
    before = None
    while page := batches.batches(stage.ledger, ROOT, limit=4, before=before):
        seen += [(batch.stream, batch.epoch, batch.seq) for batch in page]
        before = batches.place(page[-1])
        last = stage.ledger.streams.get(STREAM)
        assert last is not None
        stage.receive(chained(1, STREAM, Link(1, last.durable_seq + 1, last.durable_chain)))
    assert len(seen) == len(set(seen)) == 13
    received = [batch.received_at for batch in batches.batches(stage.ledger, ROOT)]
    assert received == sorted(received, reverse=True)


def test_canaries_are_told_of_only_where_they_are_asked_for_or_held(stage: Stage) -> None:
    stage.receive(chained(2, CANARY))
    stage.receive(chained(1))
    assert [view.name for view in streams.streams(stage.ledger, ROOT)] == [STREAM]
    assert {batch.stream for batch in batches.batches(stage.ledger, ROOT)} == {STREAM}
    assert len(batches.batches(stage.ledger, ROOT, stream=CANARY)) == 2
    refuse(stage, CANARY)
    assert [view.name for view in streams.streams(stage.ledger, ROOT)] == [CANARY, STREAM]


def test_a_chain_that_does_not_hold_shows_in_the_custody(stage: Stage) -> None:
    stage.receive(chained(3))
    assert batches.custody(stage.ledger, ROOT, STREAM, 1, 1).attached is None
    assert batches.custody(stage.ledger, ROOT, STREAM, 1, 2).attached is True
    foreign = chained(1, seed=9)[0]
    with stage.ledger.database.write() as connection:
        connection.exec_driver_sql("UPDATE batch SET header = ? WHERE seq = 1", (foreign.header,))
    assert batches.custody(stage.ledger, ROOT, STREAM, 1, 2).attached is False


def test_rows_and_lag_over_time_add_up(stage: Stage) -> None:
    now = stage.ledger.database.clock()
    stage.receive(chained(5))
    found = streams.history(stage.ledger, ROOT, STREAM, since_us=now - 3_600 * SECOND, intervals=12)
    assert len(found) == 12
    assert sum(one.rows for one in found) == 15
    assert sum(one.batches for one in found) == 5
    assert [one.rows for one in found[:-1]] == [0] * (len(found) - 1)


def test_every_schema_of_a_stream_is_told_with_what_changed(stage: Stage) -> None:
    import pyarrow as pa

    from forebay_wire.schema import TableSchema, column
    from tests.receiving.batches import SCHEMA

    stage.receive(chained(1))
    wider = TableSchema.of([*SCHEMA.columns[:1], column("phone", pa.string(), "text", mask="mobile")], ["id"])
    stage.ledger.schemas.put_schema(STREAM, wider.fingerprint, wider.serialized, agent="a")
    newest, first = streams.schemas(stage.ledger, ROOT, STREAM)
    assert (first.added, first.removed, first.changed) == ((), (), ())
    assert (newest.added, newest.removed, newest.changed) == (("phone",), ("text",), ())
    assert [(one.name, one.mask, one.key) for one in newest.columns] == [("id", "", True), ("phone", "mobile", False)]


def test_the_fleet_is_read_with_as_many_queries_however_large_it_is(stage: Stage) -> None:
    from forebay_collector.ledger.agents import put_certificate

    def queries() -> int:
        count = []
        listening = (stage.ledger.database.engine, "before_cursor_execute", lambda *_: count.append(1))
        event.listen(*listening)
        fleet.agents(stage.ledger, ROOT)
        streams.streams(stage.ledger, ROOT)
        quarantine.held(stage.ledger, ROOT)
        event.remove(*listening)
        return len(count)

    def grow(first: int, last: int) -> None:
        for number in range(first, last):
            name = StreamName(f"d{number}", "db", "main.t")
            with stage.ledger.database.write() as connection:
                put_certificate(
                    connection, f"a{number}", f"d{number}", f"{number:x}", 2**55, 1, hostname="h", version="0"
                )
            stage.receive(chained(1, name), agent=f"a{number}")
            if number % 3 == 0:
                stage.ledger.quarantine.put(name, 1, 1, "FB-X", "x")

    grow(0, 4)
    few = queries()
    grow(4, 40)
    assert queries() == few


def test_a_verification_that_is_asked_for_is_carried_out_by_whoever_has_the_platform(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from forebay_collector.control import ask

    monkeypatch.setattr(ask, "PICKED_UP_WITHIN", timedelta(milliseconds=100))
    monkeypatch.setattr(verifier_module, "PATIENCE", Patience(away=timedelta(milliseconds=300)))
    stage.receive(chained(2))
    (number,) = verification.start(stage.ledger, OPERATOR, [STREAM], "monthly")
    died: list[BaseException] = []
    verifier = Verifier(stage.ledger, lambda: stage.platform, on_death=lambda _, error: died.append(error))
    assert verifier.step()
    assert not verifier.step()
    found = verification.result(stage.ledger, VIEWER, number)
    assert (found.state, found.code) == (VerificationState.FAILED, AgentUnreachable.code)
    assert found.remedy
    with pytest.raises(NotKnown):
        verification.result(stage.ledger, OF_OTHER, number)
    asked, ended = stage.ledger.audit.listing(subject=str(STREAM))[::-1]
    assert (asked.action, asked.who, asked.why) == ("verify", "ops", "monthly")
    assert (ended.action, ended.detail["outcome"], ended.detail["code"]) == (
        "verified",
        "failed",
        AgentUnreachable.code,
    )
    assert not died


def test_what_lost_its_process_is_carried_out_once_more_and_then_given_up(stage: Stage) -> None:
    stage.receive(chained(1))
    kinds: tuple[tuple[Any, list[int]], ...] = (
        (stage.ledger.verifications, verification.start(stage.ledger, OPERATOR, [STREAM, STREAM])),
        (stage.ledger.repairs, repair.start(stage.ledger, OPERATOR, [STREAM, STREAM], "why")),
    )
    clock = stage.ledger.database.clock
    for at, (runs, (first, second)) in enumerate(kinds):
        start = at * 1_000

        def after(seconds: int, start: int = start) -> int:
            """It is so many seconds later; -> what was not touched since then is lost."""
            stage.ledger.database.clock = lambda: clock() + (start + seconds) * SECOND
            return stage.ledger.database.clock() - 120 * SECOND

        def state(number: int, runs: Any = runs) -> tuple[str, str]:
            found = runs.get(number)
            return str(found.state), found.code

        lost = "FB-VERIFY-INTERRUPTED"
        after(0)
        assert runs.take(first) is not None
        after(90)
        runs.touch(first, "reading the source")
        assert runs.give_up(after(90), lost, "gone") == 0
        assert state(first) == ("running", "")
        assert runs.give_up(after(300), lost, "gone") == 0
        assert state(first) == ("waiting", lost)
        taken = runs.take()
        assert (taken.id, taken.state) == (first, "running")
        assert runs.give_up(after(600), lost, "gone") == 1
        assert state(first) == ("failed", lost)
        assert state(second) == ("waiting", "")


def test_what_was_interrupted_and_then_carried_out_tells_of_no_trouble(stage: Stage) -> None:
    stage.receive(chained(1))
    (number,) = repair.start(stage.ledger, OPERATOR, [STREAM], "why")
    assert stage.ledger.repairs.take(number) is not None
    stage.ledger.repairs.give_up(stage.ledger.database.clock() + 1, "FB-VERIFY-INTERRUPTED", "gone")
    assert stage.ledger.repairs.take(number) is not None
    with stage.ledger.database.write() as connection:
        repairs.end(connection, number, repairs.RepairState.REPAIRED, 1, sent=1)
    done = stage.ledger.repairs.get(number)
    assert done is not None
    assert (done.state, done.code, done.reason) == (repairs.RepairState.REPAIRED, "", "")


def test_a_console_beside_a_collector_leaves_alone_what_is_being_written(stage: Stage) -> None:
    written = chained(1, STREAM, FIRST)[0]
    stage.archive.write(written)
    beside = LocalArchive(stage.settings.data.archive, writes=False)
    stage.archive.sync()
    assert beside.read(STREAM, 1, 1).chain == written.chain
    beside.close()
