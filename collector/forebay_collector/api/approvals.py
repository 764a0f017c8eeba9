"""Approvals: what agents would share, column by column, and deciding what may leave."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from pydantic import Field

from forebay_collector.api.operation import Call, Noun, stream_named
from forebay_collector.api.outcomes import Outcome, Outcomes, told
from forebay_collector.api.paging import Part, by_text
from forebay_collector.api.values import (
    Answer,
    Asked,
    AskedMoment,
    Moment,
    Name,
    Needed,
    Page,
    Paged,
    Reason,
    Stream,
    StreamText,
    Why,
    to_us,
)
from forebay_collector.ledger.proposals import State
from forebay_collector.service import approvals as service
from forebay_collector.service.actor import Permission
from forebay_collector.service.approvals import ProposalView

NOUN = Noun("approvals", "What agents would share of each table, and what may leave.")
PATH: Final = "/approvals/{department}/{source}/{table}"
_COLUMNS: Final[Any] = Field(
    default_factory=list, max_length=5_000, description="These columns; without any: all that it can be said of."
)


class Standing(StrEnum):
    """Where a proposal stands; `all`: anywhere."""

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    ALL = "all"


class ProposedColumn(Answer):
    """A column after the transform, and what was decided about it under this mask."""

    name: str
    origin: str = Field(description="Its type at the source.")
    type: str
    mask: str = Field(description="Its kind; empty: it leaves as it is.")
    in_key: bool
    state: State
    decided_by: str
    decided_at: Moment
    why: str
    approved_masks: list[str]


class Proposal(Answer):
    """What an agent would share of one table. state: waiting when any column waits, even if others flow."""

    stream: Stream
    agent: str
    state: State
    columns: list[ProposedColumn]
    waiting: list[str]
    no_longer: list[str] = Field(description="Columns that are approved and not proposed any more.")
    key: list[str]
    mode: str
    guarantee: str
    update_cycle: str
    flows: bool
    code: str
    reason: str
    first_seen_at: Moment
    changed_at: Moment
    gone_at: Moment
    closed_by: str
    closed_at: Moment
    closed_why: str


class Proposals(Page[Proposal]):
    pass


class ProposalsAsked(Paged):
    state: Standing = Field(Standing.WAITING, description="Only those that stand so.")
    department: Name = Field("", description="Only of this department.")
    agent: Name = Field("", description="Only of this agent.")


class Approval(Asked):
    """What may leave."""

    columns: list[Needed] = _COLUMNS
    why: Reason = ""
    as_of: AskedMoment | None = Field(
        None, description="`changed_at` of the proposal that one saw: refused when it is another one by now."
    )


class Refusal(Asked):
    """What may not leave, or not any more."""

    columns: list[Needed] = _COLUMNS
    why: Why = Field(description="The department reads it.")


class ManyApprovals(Asked):
    streams: list[StreamText] = Field(min_length=1, max_length=1_000, description="All that waits of each.")
    why: Reason = ""


class Approved(Outcome):
    columns: list[str] = Field(description="That were decided about.")


class ApprovalOutcomes(Outcomes[Approved]):
    pass


class Decided(Answer):
    """What was decided about, and how the proposal stands now."""

    columns: list[str]
    proposal: Proposal


def proposals(call: Call[ProposalsAsked, None]) -> Part[ProposalView]:
    asked = call.query
    found = service.proposals(call.ledger, call.actor, asked.state, department=asked.department, agent=asked.agent)
    return by_text(found, asked, lambda view: str(view.stream))


def proposal(call: Call[None, None]) -> ProposalView:
    return service.proposal(call.ledger, call.actor, call.stream)


def approve(call: Call[None, Approval]) -> dict[str, Any]:
    body = call.body
    as_of = to_us(body.as_of) if body.as_of else None
    return _decided(call, service.approve(call.ledger, call.actor, call.stream, body.columns, body.why, as_of=as_of))


def reject(call: Call[None, Refusal]) -> dict[str, Any]:
    return _decided(call, service.reject(call.ledger, call.actor, call.stream, call.body.columns, call.body.why))


def withdraw(call: Call[None, Refusal]) -> dict[str, Any]:
    return _decided(call, service.withdraw(call.ledger, call.actor, call.stream, call.body.columns, call.body.why))


def approve_many(call: Call[None, ManyApprovals]) -> dict[str, Any]:
    chosen = list(dict.fromkeys(stream_named(name) for name in call.body.streams))
    return told(service.approve_many(call.ledger, call.actor, chosen, call.body.why), "columns")


def _decided(call: Call[None, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    return {"columns": columns, "proposal": service.proposal(call.ledger, call.actor, call.stream)}


NOUN.get("/approvals", "proposals", "What agents would share, by stream", proposals, Proposals, query=ProposalsAsked)
NOUN.get(PATH, "proposal", "What is proposed of one stream", proposal, Proposal)
NOUN.post(
    "/approvals/approve",
    "approveMany",
    "Approve all that waits of many streams",
    approve_many,
    ApprovalOutcomes,
    needs=Permission.APPROVE,
    body=ManyApprovals,
)
NOUN.post(
    f"{PATH}/approve",
    "approve",
    "Let columns leave under the masks that they are proposed with",
    approve,
    Decided,
    needs=Permission.APPROVE,
    body=Approval,
)
NOUN.post(f"{PATH}/reject", "reject", "Say no to columns", reject, Decided, needs=Permission.APPROVE, body=Refusal)
NOUN.post(
    f"{PATH}/withdraw",
    "withdraw",
    "Take an approval back",
    withdraw,
    Decided,
    needs=Permission.APPROVE,
    body=Refusal,
    about="From within seconds on no more of it leaves; what the platform has of it stays there.",
)
