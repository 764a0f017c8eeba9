"""What may leave is what was approved, column by column with its mask; everything else waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from forebay_collector.errors import NotKnown, NotPermitted, NotPossible
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.migrate import migrate
from forebay_collector.ledger.proposals import AUTOMATIC, Column, Decided, ProposalRecord, State, covers
from forebay_collector.service import approvals
from forebay_collector.service.actor import Actor, Role
from forebay_wire.schema import TableSchema, column
from forebay_wire.stream import StreamName
from tests.receiving.batches import DEPARTMENT, SCHEMA, STREAM

OTHER = StreamName("民政局", "救助库", "public.低保")
ID = Column("id", "bigint", "int64", "")
NAME = Column("name", "varchar(60)", "string", "name")
PHONE = Column("phone", "varchar(11)", "string", "mobile")
ADA = Actor("ada", frozenset({Role.APPROVER}), via="console")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db")
    yield opened
    opened.close()


def table(*columns: Column, stream: StreamName = STREAM, agent: str = "a1", **said: Any) -> ProposalRecord:
    values: dict[str, Any] = {
        "mode": "cursor",
        "guarantee": "no deletes",
        "update_cycle": "daily",
        "code": "",
        "reason": "",
    }
    values |= {"first_seen_at": 0, "changed_at": 0, "gone_at": 0, **said}
    key = tuple(one.name for one in columns if one.name == "id")
    return ProposalRecord(stream, agent, columns, key, decided=Decided(), **values)


def propose(
    ledger: Ledger, *tables: ProposalRecord, automatic: bool = False, complete: bool = True
) -> list[StreamName]:
    return ledger.approvals.propose(tables[0].agent, tables, complete=complete, automatic=automatic)


def proposed(ledger: Ledger, stream: StreamName = STREAM) -> ProposalRecord:
    found = ledger.approvals.get(stream)
    assert found is not None
    return found


def leaves(ledger: Ledger, stream: StreamName = STREAM) -> dict[str, str]:
    return dict(proposed(ledger, stream).may_leave)


def test_nothing_of_a_proposal_may_leave_before_it_is_approved(ledger: Ledger) -> None:
    assert propose(ledger, table(ID, NAME)) == [STREAM]
    assert leaves(ledger) == {}
    (view,) = approvals.proposals(ledger, ADA)
    assert (view.state, view.waiting, view.flows) == (State.WAITING, ("id", "name"), False)
    assert ledger.approvals.decided(STREAM).lacking([("id", "")]) == ["the stream is not approved"]
    assert approvals.approve(ledger, ADA, STREAM, why="agreement 17") == ("id", "name")
    assert leaves(ledger) == {"id": "", "name": "name"}
    assert approvals.proposals(ledger, ADA) == []
    (entry,) = ledger.audit.listing(action="approve")
    assert (entry.who, entry.subject, entry.why) == ("ada", str(STREAM), "agreement 17")
    assert entry.detail == {"via": "console", "columns": {"id": "", "name": "name"}, "agent": "a1"}


def test_a_column_that_is_added_later_waits_while_the_rest_flows(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME))
    approvals.approve(ledger, ADA, STREAM)
    propose(ledger, table(ID, NAME, PHONE))
    assert leaves(ledger) == {"id": "", "name": "name"}
    (view,) = approvals.proposals(ledger, ADA)
    assert (view.waiting, view.flows) == (("phone",), True)
    assert approvals.approve(ledger, ADA, STREAM, ["phone"]) == ("phone",)
    assert leaves(ledger) == {"id": "", "name": "name", "phone": "mobile"}


@pytest.mark.parametrize(
    ("approved", "proposes", "leaves_still"),
    [
        ("name", "", False),
        ("name", "mobile", False),
        ("citizen_id_open", "citizen_id", False),
        ("citizen_id_open", "", False),
        ("", "name", True),
        ("citizen_id", "citizen_id_open", True),
        ("name", "name", True),
    ],
)
def test_a_column_whose_mask_became_weaker_or_another_one_waits(
    ledger: Ledger, approved: str, proposes: str, leaves_still: bool
) -> None:
    propose(ledger, table(ID, replace(NAME, mask=approved)))
    approvals.approve(ledger, ADA, STREAM)
    propose(ledger, table(ID, replace(NAME, mask=proposes)))
    assert covers(approved, proposes) == leaves_still
    told = set(proposed(ledger).may_leave)
    assert (("name", proposes) in told) == leaves_still
    assert {("id", ""), ("name", approved)} <= told, "what was sealed under the mask before still waits at the agent"
    assert bool(ledger.approvals.decided(STREAM).lacking([("name", proposes)])) != leaves_still
    assert ledger.approvals.decided(STREAM).lacking([("id", ""), ("name", approved)]) == []


def test_a_mask_that_is_approved_anew_leaves_the_batches_under_the_old_one_good(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME))
    approvals.approve(ledger, ADA, STREAM)
    propose(ledger, table(ID, replace(NAME, mask="mobile")))
    approvals.approve(ledger, ADA, STREAM)
    decided = ledger.approvals.decided(STREAM)
    assert decided.lacking([("name", "name")]) == decided.lacking([("name", "mobile")]) == []
    assert decided.lacking([("name", "")]) == ["column name without a mask is not approved"]


def test_a_key_column_is_never_left_out(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME))
    with pytest.raises(NotPossible, match="id"):
        approvals.approve(ledger, ADA, STREAM, ["name"])
    assert leaves(ledger) == {}
    approvals.approve(ledger, ADA, STREAM)
    with pytest.raises(NotPossible, match="key"):
        approvals.withdraw(ledger, ADA, STREAM, ["id"], "no")
    # a new key column waits, and with it everything: rows without their key are worth nothing
    propose(ledger, replace(table(ID, NAME, PHONE), key=("id", "phone")))
    assert leaves(ledger) == {}
    approvals.approve(ledger, ADA, STREAM)
    assert set(leaves(ledger)) == {"id", "name", "phone"}


def test_what_is_withdrawn_leaves_no_more_and_comes_back_only_by_a_new_approval(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME, PHONE))
    approvals.approve(ledger, ADA, STREAM)
    assert approvals.withdraw(ledger, ADA, STREAM, ["phone"], "not needed") == ("phone",)
    assert set(leaves(ledger)) == {"id", "name"}
    view = approvals.proposal(ledger, ADA, STREAM)
    assert (view.state, view.columns[2].state) == (State.APPROVED, State.WITHDRAWN)
    assert ledger.approvals.decided(STREAM).lacking([("phone", "mobile")], automatic=True)
    assert approvals.withdraw(ledger, ADA, STREAM, why="ended") == ("id", "name")
    assert leaves(ledger) == {}
    assert approvals.proposal(ledger, ADA, STREAM).state is State.WITHDRAWN
    with pytest.raises(NotPossible):
        approvals.withdraw(ledger, ADA, STREAM, why="again")
    assert approvals.approve(ledger, ADA, STREAM) == ("id", "name"), "the column that was withdrawn stays out"
    assert approvals.approve(ledger, ADA, STREAM, ["phone"]) == ("phone",)


def test_a_rejected_table_waits_for_nobody_and_a_rejected_column_holds_up_nothing(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME))
    approvals.reject(ledger, ADA, STREAM, why="no agreement")
    assert approvals.proposals(ledger, ADA) == []
    (view,) = approvals.proposals(ledger, ADA, State.REJECTED)
    assert (view.closed_by, view.closed_why) == ("ada", "no agreement")
    propose(ledger, table(ID, NAME, PHONE))
    assert approvals.proposals(ledger, ADA) == [], "another column does not reopen it"
    assert approvals.approve(ledger, ADA, STREAM, ["id", "name"]) == ("id", "name")
    approvals.reject(ledger, ADA, STREAM, ["phone"], "not needed")
    assert approvals.proposals(ledger, ADA) == []
    assert set(leaves(ledger)) == {"id", "name"}
    with pytest.raises(NotPossible, match="name"):
        approvals.reject(ledger, ADA, STREAM, ["name"], "x")


def test_a_proposal_that_changed_since_it_was_looked_at_is_not_approved(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME))
    seen = approvals.proposal(ledger, ADA, STREAM).changed_at
    propose(ledger, table(ID, replace(NAME, mask="")))
    with pytest.raises(NotPossible, match="something else"):
        approvals.approve(ledger, ADA, STREAM, as_of=seen)
    assert leaves(ledger) == {}


def test_automatic_approves_all_that_is_proposed_but_not_what_a_person_said_no_to(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME), automatic=True)
    assert leaves(ledger) == {"id": "", "name": "name"}
    (entry,) = ledger.audit.listing(action="approve")
    assert (entry.who, entry.detail["columns"]) == (AUTOMATIC, {"id": "", "name": "name"})
    approvals.withdraw(ledger, ADA, STREAM, ["name"], "no")
    propose(ledger, table(ID, NAME, PHONE), automatic=True)
    assert set(leaves(ledger)) == {"id", "phone"}
    approvals.withdraw(ledger, ADA, STREAM, why="no")
    propose(ledger, table(ID, NAME, PHONE, Column("x", "int", "int32", "")), automatic=True)
    assert leaves(ledger) == {}
    assert ledger.approvals.decided(STREAM).lacking([("id", "")], automatic=True) == ["the stream is withdrawn"]


def test_what_was_waiting_is_approved_when_the_collector_becomes_automatic(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME))
    assert propose(ledger, table(ID, NAME), automatic=True) == [STREAM]
    assert set(leaves(ledger)) == {"id", "name"}


def test_an_agent_that_says_the_same_again_writes_nothing(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME), table(ID, stream=StreamName(DEPARTMENT, "s", "a.b")))
    before = ledger.approvals.revision(), len(ledger.audit.listing())
    assert propose(ledger, table(ID, NAME), table(ID, stream=StreamName(DEPARTMENT, "s", "a.b"))) == []
    assert (ledger.approvals.revision(), len(ledger.audit.listing())) == before


def test_a_table_that_cannot_be_described_for_now_keeps_what_is_known_and_approved(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME))
    approvals.approve(ledger, ADA, STREAM)
    entries = len(ledger.audit.listing())
    propose(ledger, table(code="FB-SOURCE", reason="unreachable", mode=""))
    assert leaves(ledger) == {"id": "", "name": "name"}
    view = approvals.proposal(ledger, ADA, STREAM)
    assert (view.code, view.state, len(view.columns), view.mode) == ("FB-SOURCE", State.APPROVED, 2, "cursor")
    assert len(ledger.audit.listing()) == entries
    propose(ledger, table(code="FB-SOURCE", reason="unreachable", stream=OTHER, agent="b1"))
    with pytest.raises(NotPossible, match="FB-SOURCE"):
        approvals.approve(ledger, ADA, OTHER)


def test_a_table_that_is_not_configured_any_more_is_said_to_be_gone_and_comes_back_as_it_was(ledger: Ledger) -> None:
    second = StreamName(DEPARTMENT, "s", "a.b")
    propose(ledger, table(ID), table(ID, stream=second))
    approvals.approve(ledger, ADA, second)
    propose(ledger, table(ID))
    assert proposed(ledger, second).gone_at
    propose(ledger, table(ID, stream=second), complete=False)
    assert not proposed(ledger, second).gone_at
    assert not proposed(ledger, STREAM).gone_at, "an incomplete list says nothing about the rest"
    assert leaves(ledger, second) == {"id": ""}
    propose(ledger, table(ID, stream=second))
    assert [view.stream for view in approvals.proposals(ledger, ADA)] == [], "nobody needs to decide about what is gone"


def test_every_change_is_in_the_audit_with_what_changed(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME))
    propose(ledger, replace(table(ID, replace(NAME, mask=""), PHONE), mode="log"))
    newest, first = ledger.audit.listing(action="propose")
    assert (first.who, first.detail["columns"]) == ("a1", {"id": "", "name": "name"})
    assert newest.detail == {"added": {"phone": "mobile"}, "masks": {"name": ["name", ""]}, "mode": ["cursor", "log"]}


def test_revisions_grow_with_every_change_and_only_for_whom_it_concerns(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME))
    propose(ledger, table(ID, stream=OTHER, agent="b1"))
    first = ledger.approvals.revisions(["a1", "b1", "c1"])
    assert (0 < first["a1"] < first["b1"], first["c1"]) == (True, 0)
    newest, changed = ledger.approvals.changed(first["a1"])
    assert (newest, list(changed)) == (first["b1"], [OTHER])
    approvals.approve(ledger, ADA, STREAM)
    second = ledger.approvals.revisions(["a1", "b1"])
    assert (second["a1"] > first["b1"], second["b1"]) == (True, first["b1"])
    assert ledger.approvals.decided(STREAM).revision == second["a1"]


def test_a_stream_that_moves_to_another_agent_is_told_to_both(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME))
    approvals.approve(ledger, ADA, STREAM)
    before = ledger.approvals.revisions(["a1", "a2"])
    propose(ledger, table(ID, NAME, agent="a2"))
    after = ledger.approvals.revisions(["a1", "a2"])
    assert all(after[agent] > before[agent] for agent in before)
    assert set(leaves(ledger)) == {"id", "name"}, "what is approved is the table, whoever reads it"
    assert [record.stream for record in ledger.approvals.listing(agent="a1")] == []


def test_who_may_not_approve_or_does_not_see_the_department_cannot(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME))
    propose(ledger, table(ID, stream=OTHER, agent="b1"))
    with pytest.raises(NotPermitted):
        approvals.approve(ledger, Actor("vera", frozenset({Role.VIEWER, Role.OPERATOR})), STREAM)
    local = Actor("li", frozenset({Role.APPROVER}), frozenset({DEPARTMENT}))
    assert [view.stream for view in approvals.proposals(ledger, local)] == [STREAM]
    for deed in (approvals.approve, approvals.reject, approvals.withdraw):
        with pytest.raises(NotKnown):
            deed(ledger, local, OTHER, (), "x")
    with pytest.raises(NotKnown):
        approvals.proposal(ledger, local, OTHER)
    with pytest.raises(NotPossible, match="reason"):
        approvals.reject(ledger, local, STREAM)
    with pytest.raises(NotKnown, match="nothing"):
        approvals.approve(ledger, local, STREAM, ["nothing"])
    done = approvals.approve_many(ledger, local, [OTHER, STREAM])
    assert [(one.stream, one.columns, type(one.error)) for one in done] == [
        (OTHER, (), NotKnown),
        (STREAM, ("id", "name"), type(None)),
    ]


def test_a_change_of_the_mode_is_audited_and_told_to_every_agent(ledger: Ledger) -> None:
    propose(ledger, table(ID, NAME))
    with ledger.database.write() as connection:
        connection.execute(
            text(
                "INSERT INTO agent (name, department, serial, expires_at, enrolled_at, revoked_at, last_seen_at,"
                " version, hostname, instance, health) VALUES ('a1', 'd', '1', 1, 1, 0, 0, '', '', '', '{}')"
            )
        )
    assert ledger.approvals.note_mode("manual")
    assert not ledger.approvals.note_mode("manual")
    before = ledger.approvals.revisions(["a1"])
    assert ledger.approvals.note_mode("auto")
    assert ledger.approvals.revisions(["a1"])["a1"] > before["a1"]
    (entry,) = ledger.audit.listing(action="approval mode")
    assert (entry.who, entry.subject) == ("collector", "auto")


def test_what_was_received_before_there_were_approvals_is_approved_as_it_is(ledger: Ledger) -> None:
    """Every column of every schema that the ledger holds, under every mask that it had."""
    masked = TableSchema.of(
        [
            column("id", SCHEMA.arrow.field("id").type, "bigint"),
            column("new", SCHEMA.arrow.field("text").type, "text", mask="name"),
        ],
        ["id"],
    )
    migrate(ledger.database, 3)
    ledger.schemas.put_schema(STREAM, SCHEMA.fingerprint, SCHEMA.serialized, agent="a1")
    ledger.schemas.put_schema(STREAM, masked.fingerprint, masked.serialized, agent="a1")
    migrate(ledger.database)
    record = proposed(ledger)
    assert (record.agent, [one.name for one in record.columns], record.key) == ("a1", ["id", "new"], ("id",))
    assert set(record.may_leave) == {("id", ""), ("new", "name"), ("text", "")}
    assert record.decision(record.columns[0]).by == "migration"
    assert ledger.approvals.revisions(["a1"])["a1"] == record.decided.revision > 0
    # the agent proposes the same table as it is now: it goes on flowing
    propose(ledger, table(ID, Column("new", "text", "string", "name")))
    assert set(leaves(ledger)) == {"id", "new", "text"}
    assert ledger.approvals.decided(STREAM).lacking([("new", "")]) != []
