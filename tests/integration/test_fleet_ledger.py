"""The ledger of the fleet, on SQLite and on PostgreSQL: heartbeats, health, canaries, places, commands, offers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import make_url

from forebay_collector.ledger import Ledger, offers, places
from forebay_collector.ledger.agents import put_certificate
from forebay_collector.ledger.canaries import CanaryRecord
from forebay_collector.ledger.commands import CANCELLED, FAILED
from forebay_collector.ledger.heartbeats import Beat, Hello, Leaving, StreamSaid
from forebay_collector.ledger.history import HealthSample
from forebay_collector.ledger.offers import OfferTold
from forebay_collector.ledger.places import Place
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.servers.postgresql import PostgreSQL

A, B = "scjg-01", "mzj-01"
MINUTE = 60_000_000
STREAM = StreamName("市监局", "db", "main.t")
WAITS = timedelta(seconds=10)


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_040_000_000

    def __call__(self) -> int:
        self.now += 1_000
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    where: Path | str = tmp_path / "ledger.db"
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        name = f"fleet_{tmp_path.name.lower().replace('-', '_')}"[:60]
        server.create_database(name)
        url = make_url("postgresql+psycopg://").set(
            username=server.user, password=server.password, host=server.host, port=server.port, database=name
        )
        where = url.render_as_string(hide_password=False)
    opened = Ledger.open(where, clock)
    with opened.database.write() as connection:
        for agent in (A, B):
            put_certificate(connection, agent, "市监局", agent, 2**62, 1, hostname="h", version="0")
    yield opened
    opened.close()


def beat(agent: str, at: int, streams: dict[str, str] | None = None, **more: Any) -> Beat:
    """streams: name -> code."""
    said = {
        name: StreamSaid(code, json.dumps({"stream": name, "code": code})) for name, code in (streams or {}).items()
    }
    plain = {"gone": (), "whole": False, "canaries": (), "sample": None, "told": None, "opening": False}
    return Beat(agent, at, "{}", said, **{**plain, **more})


def hello(agent: str, at: int, instance: str = "i", hostname: str = "h") -> Hello:
    return Hello(Place(agent, instance, hostname, "10.0.0.5"), "1.0", 15_000, at)


def codes(ledger: Ledger, agent: str = A) -> dict[str, str]:
    return {state["stream"]: state["code"] for state in ledger.agents.streams([agent]).get(agent, [])}


def sample(agent: str, at: int, cpu: int = 10) -> HealthSample:
    return HealthSample(agent, at, cpu, 100, 500, 1 << 40, 1 << 27, 3, 1 << 20, -4_000, 0, 2_000_000)


def test_a_delta_changes_what_it_names_and_a_full_report_leaves_nothing_else(ledger: Ledger) -> None:
    ledger.heartbeats.write([beat(A, 1, {"s1": "", "s2": "FB-X"}, whole=True), beat(B, 1, {"s1": ""}, whole=True)])
    ledger.heartbeats.write([beat(A, 2, {"s2": "", "s3": "FB-Y"}, gone=["s1"])])
    assert codes(ledger) == {"s2": "", "s3": "FB-Y"}
    ledger.heartbeats.write([beat(A, 3)])
    assert codes(ledger) == {"s2": "", "s3": "FB-Y"}
    ledger.heartbeats.write([beat(A, 4, {"s9": ""}, whole=True)])
    assert codes(ledger) == {"s9": ""}
    assert codes(ledger, B) == {"s1": ""}


def test_heartbeats_of_one_group_are_taken_in_their_order(ledger: Ledger) -> None:
    group = [
        beat(A, 1, {"s1": "FB-OLD", "s2": ""}, whole=True),
        beat(A, 2, {"s1": ""}, gone=["s2"]),
        beat(A, 3, {"s3": ""}, gone=["s1"]),
        beat(A, 4, {"s1": "FB-NEW"}),
    ]
    ledger.heartbeats.write(group)
    assert codes(ledger) == {"s1": "FB-NEW", "s3": ""}
    record = ledger.agents.get(A)
    assert record is not None
    assert record.last_seen_at == 4


def test_a_group_of_a_thousand_heartbeats_is_one_transaction(ledger: Ledger) -> None:
    commits: list[int] = []
    event.listen(ledger.database.engine, "commit", lambda _: commits.append(1))
    ledger.heartbeats.write([beat(agent, number, {"s": ""}) for number in range(500) for agent in (A, B)])
    assert len(commits) == 1


def test_only_the_connection_that_ended_is_taken_for_ended(ledger: Ledger) -> None:
    ledger.heartbeats.write([hello(A, 100)])
    ledger.heartbeats.write([hello(A, 200), Leaving(A, 100, "FB-AGENT-UNREACHABLE", "gone")])
    record = ledger.agents.get(A)
    assert record is not None
    assert record.connected_since == 200
    ledger.heartbeats.write([Leaving(A, 200, "FB-AGENT-UNREACHABLE", "gone")])
    record = ledger.agents.get(A)
    assert record is not None
    assert (record.connected_since, record.heartbeat_ms) == (0, 15_000)


def test_health_has_one_sample_a_minute_and_is_deleted_when_its_time_is_over(ledger: Ledger) -> None:
    for number in range(5):
        ledger.heartbeats.write([beat(A, number, sample=sample(A, number * MINUTE)), beat(B, number)])
    ledger.heartbeats.write([beat(A, 9, sample=sample(A, 4 * MINUTE, cpu=77))])
    assert [one.at // MINUTE for one in ledger.history.samples(A, 0)] == [0, 1, 2, 3, 4]
    assert ledger.history.samples(A, 4 * MINUTE)[0].cpu_permille == 77
    assert ledger.history.samples(A, MINUTE, 2 * MINUTE) == [sample(A, MINUTE), sample(A, 2 * MINUTE)]
    assert ledger.history.expire(3 * MINUTE) == 3
    assert [one.at // MINUTE for one in ledger.history.samples(A, 0)] == [3, 4]


def test_a_sample_counts_all_streams_in_trouble_though_a_delta_names_few(ledger: Ledger) -> None:
    ledger.heartbeats.write([beat(A, 1, {"s1": "FB-X", "s2": "FB-X", "s3": ""}, whole=True)])
    ledger.heartbeats.write([beat(A, 2, {"s1": ""}, sample=sample(A, MINUTE))])
    assert ledger.history.samples(A, 0)[0].streams_troubled == 1


def test_a_source_has_its_newest_canary_and_none_when_it_is_gone(ledger: Ledger) -> None:
    first = CanaryRecord(A, "db", "row", 5, 0, 0, "", "")
    second = CanaryRecord(A, "other", "read", 5, 9, 4, "", "")
    ledger.heartbeats.write([beat(A, 1, canaries=[first, second], whole=True)])
    back = CanaryRecord(A, "db", "row", 5, 8, 3, "", "")
    ledger.heartbeats.write([beat(A, 2, canaries=[back])])
    assert ledger.canaries.listing([A]) == {A: [back, second]}
    ledger.heartbeats.write([beat(A, 3, canaries=[back], whole=True)])
    assert ledger.canaries.listing() == {A: [back]}


def alarms(ledger: Ledger) -> list[str]:
    return [entry.why for entry in ledger.audit.listing(action=places.ACTION)]


def test_a_place_that_comes_back_after_another_one_is_an_alarm(ledger: Ledger, clock: Clock) -> None:
    assert ledger.heartbeats.write([hello(A, clock(), "first")]) == []
    assert ledger.heartbeats.write([hello(A, clock(), "first")]) == [], "it came in again: a network has its days"
    assert ledger.heartbeats.write([hello(A, clock(), "second", "h2")]) == [], "it was started again, elsewhere"
    (alarm,) = ledger.heartbeats.write([hello(A, clock(), "first")])
    assert "h at 10.0.0.5 came in again after h2" in alarm
    record = ledger.agents.get(A)
    assert record is not None
    assert record.two_places_at > 0
    (entry,) = ledger.audit.listing(action=places.ACTION)
    assert (entry.who, entry.subject, entry.why) == (A, A, alarm)
    assert [place["instance"] for place in entry.detail["places"]] == ["first", "second"]


def test_two_hosts_of_one_instance_are_two_places_too(ledger: Ledger, clock: Clock) -> None:
    for hostname in ("h1", "h2"):
        assert ledger.heartbeats.write([hello(A, clock(), "copied with its memory", hostname)]) == []
    assert len(ledger.heartbeats.write([hello(A, clock(), "copied with its memory", "h1")])) == 1


def test_an_alarm_that_goes_on_is_recorded_now_and_then(ledger: Ledger, clock: Clock) -> None:
    for _ in range(10):
        for instance in ("first", "second"):
            ledger.heartbeats.write([hello(A, clock(), instance)])
    assert len(alarms(ledger)) == 1
    clock.now += 11 * MINUTE
    ledger.heartbeats.write([hello(A, clock(), "first")])
    assert len(alarms(ledger)) == 2


def test_places_of_long_ago_are_forgotten(ledger: Ledger, clock: Clock) -> None:
    ledger.heartbeats.write([hello(A, clock(), "first")])
    ledger.heartbeats.write([hello(A, clock(), "second")])
    clock.now += 31 * 24 * 60 * MINUTE
    with ledger.database.write() as connection:
        places.forget(connection, clock())
    assert ledger.heartbeats.write([hello(A, clock(), "first")]) == []


def test_who_asked_and_what_the_agent_answered_both_stand_in_the_audit(ledger: Ledger) -> None:
    pause = control_pb2.Command(pause=control_pb2.Pause(scope=control_pb2.Scope(source="db"), reason="maintenance"))
    number = ledger.commands.ask(A, pause, "李四", WAITS, why="maintenance", via="console")
    (asked,) = ledger.audit.listing(action="command")
    assert (asked.who, asked.subject, asked.why, asked.department) == ("李四", A, "maintenance", "市监局")
    assert asked.detail == {
        "id": number,
        "kind": "pause",
        "parameters": {"scope": {"source": "db"}, "reason": "maintenance"},
        "via": "console",
    }
    ((agent, taken),) = ledger.commands.take([A, B])
    assert (agent, taken.pause.scope.source) == (A, "db")
    part = control_pb2.CommandResult(command_id=number, done=True, effect="source db is paused: 3 streams wait")
    assert ledger.commands.answer(A, part)
    (answered,) = ledger.audit.listing(action="command done")
    assert (answered.who, answered.subject, answered.why) == (A, A, "source db is paused: 3 streams wait")
    assert answered.detail == {"id": number, "kind": "pause", "code": ""}
    record = ledger.commands.get(number)
    assert record is not None
    assert (record.state, record.effect) == ("done", "source db is paused: 3 streams wait")


def test_keys_of_rows_are_never_in_the_audit_and_leave_the_ledger_when_the_command_ends(ledger: Ledger) -> None:
    what = control_pb2.TakeSnapshot(stream=STREAM.to_proto(), from_key='["110101199001011234"]', to_key='["9"]')
    number = ledger.commands.ask(A, control_pb2.Command(take_snapshot=what), "ops", WAITS, why="x")
    (_, taken) = ledger.commands.take([A])[0]
    assert taken.take_snapshot.from_key == '["110101199001011234"]'
    ledger.commands.fail(A, "FB-X", "no such stream")
    with ledger.database.read() as connection:
        kept = connection.execute(text("SELECT parameters FROM command")).scalar_one()
        audited = connection.execute(text("SELECT detail FROM audit")).scalars().all()
    assert "110101199001011234" not in kept + "".join(audited)
    record = ledger.commands.get(number)
    assert record is not None
    assert (record.state, record.code, record.parameters["fromKey"]) == (FAILED, "FB-X", "…")


def test_what_nobody_came_for_expires_and_is_audited(ledger: Ledger, clock: Clock) -> None:
    number = ledger.commands.ask(A, control_pb2.Command(reload=control_pb2.Reload()), "ops", WAITS)
    ledger.commands.expire()
    assert ledger.commands.waiting() == {A}
    clock.now += 11_000_000
    assert ledger.commands.waiting() == set()
    assert ledger.commands.take([A]) == []
    ledger.commands.expire()
    record = ledger.commands.get(number)
    assert record is not None
    assert record.state == CANCELLED
    assert [entry.who for entry in ledger.audit.listing(action="command cancelled")] == ["collector"]


def test_an_agent_that_comes_in_again_has_lost_what_it_was_sent(ledger: Ledger, clock: Clock) -> None:
    mine = ledger.commands.ask(A, control_pb2.Command(reload=control_pb2.Reload()), "ops", WAITS)
    other = ledger.commands.ask(B, control_pb2.Command(reload=control_pb2.Reload()), "ops", WAITS)
    ledger.commands.take([A, B])
    ledger.heartbeats.write([hello(A, clock())])
    states = [ledger.commands.get(number) for number in (mine, other)]
    assert [state.state for state in states if state] == [FAILED, "sent"]


def made(ledger: Ledger, agents: dict[str, int], trial: int = 0, **settings: Any) -> int:
    with ledger.database.write() as connection:
        return offers.make(connection, ledger.database.clock(), agents, settings, who="ops", why="w", trial=trial)


def states(ledger: Ledger, rollout: int) -> dict[str, str]:
    return {one.agent: one.state for one in ledger.offers.of_rollouts([rollout])}


def test_a_revision_grows_past_what_the_agent_says_it_was_given(ledger: Ledger) -> None:
    made(ledger, {A: 41})
    made(ledger, {A: 0})
    assert [one.revision for one in ledger.offers.of_agent(A)] == [43, 42]


def test_a_newer_offer_takes_the_place_of_one_that_is_open_and_not_of_one_that_was_decided(ledger: Ledger) -> None:
    first = made(ledger, {A: 0, B: 0}, trial=1, x=1)
    ledger.heartbeats.write([beat(B, 1, told=OfferTold(B, 1, "APPLIED", ""))])
    assert states(ledger, first) == {A: "waiting", B: "waiting"}, "it was not released: the agent cannot have it"
    second = made(ledger, {A: 0}, x=2)
    assert states(ledger, first) == {A: "superseded", B: "waiting"}
    ledger.heartbeats.write([beat(A, 1, told=OfferTold(A, 2, "APPLIED", ""))])
    made(ledger, {A: 0}, x=3)
    assert states(ledger, second) == {A: "applied"}


def test_what_the_agent_says_of_its_offer_counts_and_is_audited_when_it_is_news(ledger: Ledger) -> None:
    number = made(ledger, {A: 0, B: 0})
    for at, outcome in enumerate(["APPLIED", "APPLIED", "FAILED", "FAILED"]):
        ledger.heartbeats.write([beat(A, at, told=OfferTold(A, 1, outcome, "the file has a mask of its own now"))])
    assert states(ledger, number) == {A: "failed", B: "released"}
    assert len(ledger.audit.listing(action="offer applied")) == 1
    (entry,) = ledger.audit.listing(action="offer failed")
    assert (entry.who, entry.subject, entry.why) == (A, A, "the file has a mask of its own now")


def test_an_agent_that_lost_its_offer_gets_the_newest_that_was_in_force_again(ledger: Ledger) -> None:
    made(ledger, {A: 0}, x=1)
    ledger.heartbeats.write([beat(A, 1, told=OfferTold(A, 1, "APPLIED", ""))])
    made(ledger, {A: 1}, x=2)
    ledger.heartbeats.write([beat(A, 2, told=OfferTold(A, 2, "FAILED", "no"))])
    ledger.heartbeats.write([beat(A, 3, told=OfferTold(A, 2, "FAILED", "no"), opening=True)])
    assert ledger.offers.open() == [], "it has its newest offer: nothing is lost"
    ledger.heartbeats.write([beat(A, 4, told=OfferTold(A, 0, "", ""), opening=True)])
    assert [one.revision for one in ledger.offers.open()] == [1]


def test_a_roll_out_ends_once_and_who_has_not_got_the_offer_does_not_get_it(ledger: Ledger) -> None:
    number = made(ledger, {A: 0, B: 0}, trial=1)
    with ledger.database.write() as connection:
        offers.release_first(connection, number, A, ["FB-CLOCK"])
    first = ledger.offers.of_rollouts([number])[0]
    assert (first.agent, first.state, first.troubles) == (A, "released", ("FB-CLOCK",))
    with ledger.database.write() as connection:
        assert offers.taken(connection, 5, first)
        assert not offers.taken(connection, 6, first)
        assert offers.end(connection, 7, number, offers.CANCELLED, "mistyped", "ops", "cli")
        assert not offers.end(connection, 8, number, offers.STOPPED, "late", "ops")
    assert states(ledger, number) == {A: "sent", B: "cancelled"}
    assert ledger.offers.rollouts(only_open=True) == []
    (entry,) = ledger.audit.listing(action="roll-out cancelled")
    assert (entry.who, entry.why) == ("ops", "mistyped")


def test_what_is_under_way_is_found_by_its_own_index(ledger: Ledger) -> None:
    if ledger.database.engine.dialect.name != "sqlite":
        pytest.skip("the planner of PostgreSQL reads a table of a few rows whole")
    plans = {
        "SELECT agent FROM command WHERE command.state IN ('waiting', 'sent') AND state = ? AND expires_at > ?": "command_open",
        "SELECT agent FROM offer WHERE (offer.state = 'released' OR offer.command_id <> '')": "offer_open",
        "SELECT id FROM rollout WHERE rollout.ended_at = 0": "rollout_open",
    }
    with ledger.database.read() as connection:
        for query, index in plans.items():
            steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", ("x", 1)[: query.count("?")]).all()
            assert index in str(steps), query
