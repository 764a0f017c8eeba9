"""The agent as a process between a department and the centre: proposals, approvals, canary, certificate."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from forebay_agent import identity
from forebay_agent.config.model import CollectorConfig
from forebay_agent.entrance import Entrance
from forebay_agent.outbox import OutboxReader
from forebay_agent.pulse import Pulses
from forebay_agent.renewal import Renewal
from forebay_collector.founding import init
from forebay_collector.identity import alarms
from forebay_collector.service import commands
from forebay_collector.service.actor import Actor, Role
from forebay_wire import canary
from forebay_wire.schema import TableSchema
from forebay_wire.seal import open_batch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.daemon.agent import PEOPLE, AgentProcess
from tests.daemon.centre import Centre
from tests.daemon.scripted import Script, ScriptedCollector
from tests.receiving.batches import DEPARTMENT
from tests.receiving.collector import InProcess, enrolled
from tests.receiving.sender import Credentials, Sender

HOUSES = StreamName(DEPARTMENT, "civil", "houses")
OPS = Actor("ops", frozenset({Role.OPERATOR}))
CANARY = canary.stream_of(DEPARTMENT, "civil")


@pytest.fixture
def script() -> Script:
    return Script(loads=True)


@pytest.fixture
def centre() -> Centre:
    return Centre(heartbeat_ms=200, approvals=control_pb2.Approvals())


@pytest.fixture
def collector(tmp_path: Path, script: Script, centre: Centre) -> Iterator[ScriptedCollector]:
    with ScriptedCollector(tmp_path / "authority", script, centre) as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path, collector: ScriptedCollector) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path / "agent", collector) as made:
        yield made


def approved(*streams: StreamName, columns: str = "id text n") -> control_pb2.Approvals:
    named = [control_pb2.ApprovedColumn(name=name) for name in columns.split()]
    return control_pb2.Approvals(
        approvals=[control_pb2.Approval(stream=stream.to_proto(), columns=named) for stream in streams]
    )


def proposed(centre: Centre, last: bool = True) -> dict[str, control_pb2.Proposal]:
    """By table, what the last complete message told."""
    complete = [each for each in list(centre.proposals) if each.complete]
    return {proposal.stream.table: proposal for proposal in complete[-1].proposals} if complete else {}


def test_a_table_is_proposed_waits_and_flows_once_it_is_approved(
    agent: AgentProcess, centre: Centre, script: Script
) -> None:
    agent.insert(1, 20)
    agent.start()
    agent.until(lambda: list(proposed(centre)) == ["people"])
    proposal = proposed(centre)["people"]
    assert [(column.name, column.type) for column in proposal.columns] == [
        ("id", "int64"),
        ("text", "string"),
        ("n", "int64"),
    ]
    assert (proposal.mode, list(proposal.key), proposal.code) == ("cursor", ["id"], "")
    agent.until(lambda: agent.stream()["code"] == "FB-NOT-APPROVED")
    time.sleep(0.5)
    assert script.came == []
    beat = centre.until(lambda beat: any(state.code == "FB-NOT-APPROVED" for state in beat.streams) or beat.since > 0)
    assert beat.number > 0
    told = agent.command("status")
    assert "FB-NOT-APPROVED" in told.stdout
    assert "forebay-collector approvals" in told.stdout
    centre.approve(approved(PEOPLE))
    agent.until(lambda: len(script.rows(PEOPLE)) >= 20)
    agent.until(lambda: agent.stream()["state"] == "streaming")


def test_a_column_that_waits_is_shown_with_what_to_do(agent: AgentProcess, centre: Centre, script: Script) -> None:
    agent.insert(1, 5)
    centre.approvals = approved(PEOPLE, columns="id n")
    agent.start()
    agent.until(lambda: agent.stream().get("columns_waiting") == ["text"])
    agent.until(lambda: agent.stream()["state"] == "streaming")
    told = agent.command("status").stdout
    assert "text" in told
    assert "FB-NOT-APPROVED" in told
    assert "forebay-collector approvals" in told
    assert all("text" not in row for row in script.rows(PEOPLE))
    beat = centre.until(lambda beat: any(state.columns_waiting for state in beat.streams) or beat.since > 0)
    assert beat.number > 0


def test_it_goes_on_with_what_was_approved_when_it_starts_without_the_centre(
    agent: AgentProcess, centre: Centre, script: Script, collector: ScriptedCollector
) -> None:
    centre.approvals = approved(PEOPLE)
    agent.insert(1, 5)
    agent.start()
    agent.until(lambda: len(script.rows(PEOPLE)) >= 5)
    assert agent.end() == 0
    collector.stop()
    agent.insert(6, 5)
    agent.start()
    agent.until(lambda: agent.status().get("outbox", {}).get("batches", 0) > 0)
    assert agent.stream()["code"] == ""
    collector.start()
    agent.until(lambda: {row["id"] for row in script.rows(PEOPLE)} == set(range(1, 11)))


def test_a_withdrawal_stops_capture_at_once_and_keeps_what_was_not_sent(
    agent: AgentProcess, centre: Centre, script: Script
) -> None:
    centre.approvals = approved(PEOPLE)
    agent.insert(1, 5)
    agent.start()
    agent.until(lambda: len(script.rows(PEOPLE)) >= 5)
    script.answers = False  # batches come, and stay in the outbox
    agent.insert(6, 5)
    agent.until(lambda: len(script.rows(PEOPLE)) >= 10)
    centre.approve(control_pb2.Approvals())
    agent.until(lambda: agent.stream()["code"] == "FB-NOT-APPROVED")
    agent.insert(11, 5)
    time.sleep(0.5)
    assert {row["id"] for row in script.rows(PEOPLE)} == set(range(1, 11))
    with closing(OutboxReader(agent.state)) as reader:
        (record,) = [each for each in reader.streams() if each.name == PEOPLE]
        assert reader.waiting(record.id), "what was not acknowledged is kept"
    script.answers = True
    centre.approve(approved(PEOPLE))
    agent.until(lambda: {row["id"] for row in script.rows(PEOPLE)} == set(range(1, 16)))
    agent.until(lambda: agent.status()["outbox"]["batches"] == 0)


def test_what_is_not_approved_is_not_read_for_a_command_either_and_keeps_none_waiting(
    agent: AgentProcess, centre: Centre, script: Script
) -> None:
    centre.approvals = approved(PEOPLE)
    agent.insert(1, 5)
    agent.start()
    agent.until(lambda: len(script.rows(PEOPLE)) >= 5)
    digest = control_pb2.SourceDigest(stream=PEOPLE.to_proto())
    assert centre.ask(source_digest=digest).last.rows == 5
    script.answers = False
    agent.insert(6, 5)
    agent.until(lambda: len(script.rows(PEOPLE)) >= 10)
    centre.approve(control_pb2.Approvals())
    script.calls[-1].cancel()  # what was sent and not acknowledged would be sent again
    agent.until(lambda: agent.stream()["code"] == "FB-NOT-APPROVED")
    refused = centre.ask(source_digest=digest).last
    assert (refused.code, refused.rows) == ("FB-NOT-APPROVED", 0)
    began = time.monotonic()
    drained = centre.ask(drain=control_pb2.Drain(timeout_seconds=30)).last
    assert "streams in trouble" in drained.reason
    assert time.monotonic() - began < 20


def test_what_is_configured_otherwise_is_proposed_anew_and_all_of_it_when_it_is_asked_for(
    agent: AgentProcess, centre: Centre
) -> None:
    agent.start()
    agent.until(lambda: list(proposed(centre)) == ["people"])
    agent.table("houses")
    agent.capture("people", "houses")
    agent.until(lambda: sorted(proposed(centre)) == ["houses", "people"])
    agent.capture("houses")
    agent.until(lambda: sorted(proposed(centre)) == ["houses"])
    told = len(centre.proposals)
    assert centre.ask(report_all=control_pb2.ReportAll()).last.code == ""
    agent.until(lambda: len(centre.proposals) > told)
    assert centre.proposals[-1].complete
    centre.cut()
    agent.until(lambda: len(centre.hellos) >= 2 and len(centre.proposals) > told + 1)


def test_the_canary_is_told_with_its_round_trip_once_it_is_loaded(
    agent: AgentProcess, centre: Centre, script: Script
) -> None:
    source = agent.home / "sources.d" / "civil.toml"
    source.write_text(source.read_text().replace('kind = "off"', 'kind = "read"\nevery = "3s"'))
    agent.start()
    beat = centre.until(lambda beat: any(each.loaded_at_us for each in beat.canaries), 40)
    (state,) = beat.canaries
    assert (state.source, state.kind, state.code) == ("civil", "read", "")
    assert 0 < state.round_trip_us < 20_000_000
    assert state.loaded_at_us > 0
    agent.until(lambda: len(script.rows(CANARY)) >= 2)
    assert {row["id"] for row in script.rows(CANARY)} == {"civil"}
    assert not any(state.stream.table == canary.TABLE for state in beat.streams)
    told = json.loads(agent.command("status", "--json").stdout)["canaries"]
    assert told[0]["round_trip_us"] > 0
    assert "canary" in agent.command("status").stdout


def test_a_certificate_that_cannot_be_renewed_is_told_to_the_centre_and_on_the_appliance(
    agent: AgentProcess, centre: Centre
) -> None:
    """The scripted collector offers no renewal."""
    agent.start()
    answer = centre.ask(rotate_certificate=control_pb2.RotateCertificate())
    assert answer.last.code == "FB-COLLECTOR-UNREACHABLE"
    assert "UNIMPLEMENTED" in answer.last.reason
    beat = centre.until(lambda beat: beat.renewal_refusal != "")
    assert "UNIMPLEMENTED" in beat.renewal_refusal
    agent.until(lambda: agent.status()["certificate"]["code"] == "FB-COLLECTOR-UNREACHABLE")
    told = agent.command("status").stdout
    assert "NOT RENEWED" in told


class _RealCollector:
    """A collector of our own, as AgentProcess wants one to enrol with."""

    def __init__(self, running: InProcess, life: timedelta) -> None:
        self.running = running
        self.life = life

    def enrol(self, state: Path) -> None:
        given = enrolled(self.running.settings, self.running.ledger, life=self.life)
        self.first = given
        identity.prepare(state, given.key)
        identity.finish(
            state,
            agent="scjg-01",
            department=DEPARTMENT,
            addresses=(self.running.address,),
            certificate=given.certificate,
            authority=given.authority,
        )


def ops_by_id(running: InProcess) -> dict[int, list[str]]:
    """What the collector has of each row, in order."""
    told: dict[int, list[str]] = {}
    for epoch, seq in running.pipeline.archive.batches(PEOPLE):
        batch = running.pipeline.archive.read(PEOPLE, epoch, seq)
        fingerprint = batch.fields.schema_fingerprint
        schema = TableSchema.parse(running.ledger.schemas.schema(PEOPLE, fingerprint) or b"", fingerprint)
        for row in open_batch(batch, schema).to_pylist():
            told.setdefault(row["id"], []).append(row["_op"])
    return told


def test_the_certificate_is_renewed_under_way_and_no_row_is_lost_or_doubled(tmp_path: Path) -> None:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as running:
        real = _RealCollector(running, timedelta(minutes=10))  # of which an hour and ten minutes were for slow clocks
        with AgentProcess(tmp_path / "agent", real) as agent:  # type: ignore[arg-type]
            agent.start()
            for number in range(1, 301, 3):
                agent.insert(number, 3)
                time.sleep(0.02)
            agent.until(lambda: identity.load(agent.state).certificate != real.first.certificate)
            agent.insert(301, 100)

            agent.until(lambda: len(ops_by_id(running)) >= 400)
            time.sleep(1.0)
            told = ops_by_id(running)
            assert sorted(told) == list(range(1, 401))
            # rows that were written while the snapshot was read come once more, with the first window after it
            assert {tuple(ops) for ops in told.values()} <= {("r",), ("u",), ("r", "u")}
            agent.until(lambda: agent.status()["uplink"]["connected"])
            assert agent.status()["certificate"]["code"] == ""
            assert running.ledger.audit.listing(action=alarms.REPLACED) == [], "it came in with the one that had ended"
            with Sender(
                running.address, Credentials(real.first.authority, real.first.certificate, real.first.key)
            ) as old:
                assert "UNAUTHENTICATED" in str(old.failure().code())
            log = agent.log.read_text()
            assert "certificate renewed" in log
            assert "BEGIN" not in log


def test_a_renewal_that_a_crash_left_unsettled_is_settled_before_anything_else_comes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as running:
        real = _RealCollector(running, timedelta(days=398))
        with AgentProcess(tmp_path / "agent", real) as agent:  # type: ignore[arg-type]
            renewing = Renewal(agent.state, CollectorConfig(), Entrance(agent.state), Pulses(lambda: 0.0), lambda: None)
            monkeypatch.setattr(identity, "promote", lambda _: 1 / 0)  # dies when Confirm has been answered
            with pytest.raises(ZeroDivisionError):
                renewing.rotate()
            monkeypatch.undo()
            agent.insert(1, 20)
            agent.start()
            agent.until(lambda: sum(batch.rows for batch in running.ledger.batches.listing(stream=PEOPLE)) >= 20)
            assert identity.load_next(agent.state) is None
            assert running.ledger.audit.listing(action=alarms.REPLACED) == [], "it came in with the one that had ended"


def test_a_certificate_is_rotated_when_the_centre_asks_and_the_answer_arrives(tmp_path: Path) -> None:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as running:
        real = _RealCollector(running, timedelta(days=398))
        with AgentProcess(tmp_path / "agent", real) as agent:  # type: ignore[arg-type]
            agent.insert(1, 20)
            agent.start()
            agent.until(lambda: sum(batch.rows for batch in running.ledger.batches.listing(stream=PEOPLE)) >= 20)
            number = commands.rotate(running.ledger, OPS, "scjg-01", "its disk went to the shop")
            agent.until(lambda: commands.outcome(running.ledger, OPS, number).ended_at > 0)
            view = commands.outcome(running.ledger, OPS, number)
            assert (view.code, "renewed by a new key" in view.effect) == ("", True)
            assert identity.load(agent.state).certificate != real.first.certificate
            agent.insert(21, 20)
            agent.until(lambda: sum(batch.rows for batch in running.ledger.batches.listing(stream=PEOPLE)) >= 40)
            agent.until(lambda: agent.log.read_text().count("control connected") >= 2)
            assert running.ledger.audit.listing(action=alarms.REPLACED) == []
