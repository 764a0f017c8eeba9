"""Over the control call: what an agent proposes, and what it is told may leave."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from forebay_collector.control.approving import Approving
from forebay_collector.founding import init
from forebay_collector.identity import alarms
from forebay_collector.ledger import AgentRecord
from forebay_collector.service import approvals
from forebay_collector.service.actor import Actor
from forebay_wire import limits
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.loading.control import HandAgent
from tests.receiving.batches import DEPARTMENT, STREAM
from tests.receiving.collector import InProcess, enrolled

AGENT = "scjg-01"
ADA = Actor.local("ada")
Columns = dict[str, str]


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"])) as running:
        yield running


@pytest.fixture
def agent(collector: InProcess) -> Iterator[HandAgent]:
    calling = HandAgent(collector.address, enrolled(collector.settings, collector.ledger, AGENT))
    yield calling
    calling.cut()


def proposal(masks: Columns, stream: StreamName = STREAM) -> control_pb2.Proposal:
    """masks: column -> mask."""
    columns = [
        control_pb2.ProposedColumn(name=name, origin="varchar(20)", type="string", mask=mask)
        for name, mask in masks.items()
    ]
    return control_pb2.Proposal(
        stream=stream.to_proto(), columns=columns, key=["id"], mode="log", guarantee="all", update_cycle="real time"
    )


def proposes(agent: HandAgent, *proposed: control_pb2.Proposal, complete: bool = True) -> control_pb2.Approvals:
    agent.say(proposals=control_pb2.Proposals(proposals=proposed, complete=complete))
    answer = agent.next()
    assert answer.WhichOneof("kind") == "approvals"
    return answer.approvals


def allowed(told: control_pb2.Approvals) -> dict[str, Columns]:
    return {
        str(StreamName.from_proto(one.stream)): {column.name: column.mask for column in one.columns}
        for one in told.approvals
    }


def test_an_agent_proposes_and_is_told_what_may_leave_as_soon_as_it_is_decided(
    collector: InProcess, agent: HandAgent
) -> None:
    agent.hello(AGENT)
    assert (allowed(agent.approvals), agent.approvals.automatic) == ({}, False)
    told = proposes(agent, proposal({"id": "", "who": "name"}))
    assert allowed(told) == {}
    (view,) = approvals.proposals(collector.ledger, ADA)
    assert (view.agent, view.mode, view.guarantee, view.update_cycle) == (AGENT, "log", "all", "real time")
    assert [(one.name, one.origin, one.type, one.mask, one.in_key) for one in view.columns] == [
        ("id", "varchar(20)", "string", "", True),
        ("who", "varchar(20)", "string", "name", False),
    ]
    began = time.monotonic()
    approvals.approve(collector.ledger, ADA, STREAM)
    after = agent.next().approvals
    assert time.monotonic() - began < 5
    assert allowed(after) == {str(STREAM): {"id": "", "who": "name"}}
    assert after.revision > told.revision
    approvals.withdraw(collector.ledger, ADA, STREAM, ["who"], "not needed")
    assert allowed(agent.next().approvals) == {str(STREAM): {"id": ""}}
    assert agent.quiet(1.5), "nothing is said where nothing changed"


def test_an_agent_that_comes_in_again_is_told_before_it_proposes(collector: InProcess) -> None:
    credentials = enrolled(collector.settings, collector.ledger, AGENT)
    first = HandAgent(collector.address, credentials)
    first.hello(AGENT)
    proposes(first, proposal({"id": "", "who": "name"}))
    approvals.approve(collector.ledger, ADA, STREAM)
    first.cut()
    again = HandAgent(collector.address, credentials)
    again.hello(AGENT)
    assert allowed(again.approvals) == {str(STREAM): {"id": "", "who": "name"}}
    revision = again.approvals.revision
    assert proposes(again, proposal({"id": "", "who": "name"})).revision == revision, "nothing changed"
    again.cut()


def test_a_stronger_mask_is_told_as_it_is_proposed(collector: InProcess, agent: HandAgent) -> None:
    agent.hello(AGENT)
    proposes(agent, proposal({"id": "", "who": ""}))
    approvals.approve(collector.ledger, ADA, STREAM)
    agent.next()
    assert allowed(proposes(agent, proposal({"id": "", "who": "name"}))) == {str(STREAM): {"id": "", "who": "name"}}


def test_where_everything_is_approved_the_agent_is_told_so_at_once_and_it_is_recorded(tmp_path: Path) -> None:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as collector:
        agent = HandAgent(collector.address, enrolled(collector.settings, collector.ledger, AGENT))
        agent.hello(AGENT)
        assert agent.approvals.automatic
        told = proposes(agent, proposal({"id": "", "who": "name"}))
        assert (told.automatic, allowed(told)) == (True, {str(STREAM): {"id": "", "who": "name"}})
        (view,) = approvals.proposals(collector.ledger, ADA, approvals.ALL)
        assert {column.decided_by for column in view.columns} == {"auto"}
        approvals.withdraw(collector.ledger, ADA, STREAM, ["who"], "not needed")
        after = agent.next().approvals
        assert (after.automatic, allowed(after)) == (False, {str(STREAM): {"id": ""}})
        agent.cut()


def test_what_another_department_has_is_not_an_agents_to_propose(collector: InProcess, agent: HandAgent) -> None:
    agent.hello(AGENT)
    theirs = StreamName("民政局", "救助库", "public.低保")
    agent.say(proposals=control_pb2.Proposals(proposals=[proposal({"id": ""}, theirs)]))
    with pytest.raises(grpc.RpcError) as refused:
        agent.next()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    (entry,) = collector.ledger.audit.listing(action=alarms.WRONG_DEPARTMENT)
    assert entry.who == AGENT
    assert collector.ledger.approvals.listing() == []


@pytest.mark.parametrize(
    "wrong",
    [
        proposal({"id": "", "": ""}),
        proposal({"id": "", "x" * (limits.MAX_NAME_BYTES + 1): ""}),
        proposal({f"c{number}": "" for number in range(limits.MAX_COLUMNS + 1)}),
        control_pb2.Proposal(
            stream=STREAM.to_proto(),
            columns=[control_pb2.ProposedColumn(name="a"), control_pb2.ProposedColumn(name="a")],
        ),
        control_pb2.Proposal(),
    ],
    ids=["no name", "long name", "many columns", "a name twice", "no stream"],
)
def test_what_is_no_proposal_is_refused_and_nothing_of_it_is_kept(
    collector: InProcess, agent: HandAgent, wrong: control_pb2.Proposal
) -> None:
    agent.hello(AGENT)
    agent.say(proposals=control_pb2.Proposals(proposals=[proposal({"id": ""}), wrong]))
    with pytest.raises(grpc.RpcError) as refused:
        agent.next()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert collector.ledger.approvals.listing() == []


def test_more_approvals_than_fit_into_one_message_are_cut_and_the_rest_waits(collector: InProcess) -> None:
    """Ten thousand tables of many columns: what is told fits, and is good as far as it goes."""
    record = AgentRecord(AGENT, DEPARTMENT, *([""] + [0] * 4 + [""] * 3 + [0] * 3 + [{}]))  # type: ignore[arg-type]
    approving = Approving(collector.ledger, "auto")
    masks = {f"{'栏' * 60}{number:04d}": "" for number in range(1_000)} | {"id": ""}
    streams = [StreamName(DEPARTMENT, "s", f"main.t{number:02d}") for number in range(34)]
    approving.proposed(record, control_pb2.Proposals(proposals=[proposal(masks, stream) for stream in streams]))
    told = approving.answer(AGENT)
    assert 0 < len(told.approvals) < len(streams)
    assert told.ByteSize() <= limits.MAX_MESSAGE_BYTES
    assert all(len(columns) == len(masks) for columns in allowed(told).values())
