"""Approvals: what agents would share, column by column, and what may leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from forebay_collector.console.answers import Done, Message, Page
from forebay_collector.console.visit import Visit, stream_named
from forebay_collector.errors import NotPossible
from forebay_collector.ledger.proposals import State
from forebay_collector.service import approvals as service
from forebay_collector.service.approvals import Outcome, ProposalView

HERE: Final = "/approvals"
PER_PAGE: Final = 30
_OPEN: Final = 3


def proposals(visit: Visit) -> Page:
    state = visit.asked("state", State.WAITING)
    name, department = visit.asked("stream"), visit.asked("department")
    place = visit.number("from", 0, 0, 1_000_000)
    if name:
        chosen = [service.proposal(visit.ledger, visit.actor, stream_named(name))]
        state = ""
    else:
        state = state if state in (*State, service.ALL) else State.WAITING
        chosen = service.proposals(visit.ledger, visit.actor, state, department=department)
    return Page(
        "approvals.html",
        {
            "proposals": chosen[place : place + PER_PAGE],
            "total": len(chosen),
            "after": place + PER_PAGE if len(chosen) > place + PER_PAGE else 0,
            "state": state,
            "states": [*State, service.ALL],
            "department": department,
            "departments": sorted({one.department for one in chosen} | ({department} if department else set())),
            "here": list(visit.query.multi_items()),
            "opened": _OPEN,
            "unmasked": unmasked,
            "many": any(visit.may("approve", one.department) for one in chosen) and len(chosen) > 1,
        },
        live=not chosen,
    )


def unmasked(one: ProposalView) -> int:
    """How many of its columns would leave as they are."""
    return sum(not column.mask for column in one.columns)


def decide(visit: Visit) -> Done:
    """Approves, rejects or withdraws the marked columns of one stream; or approves all that waits of many streams."""
    action, why = visit.said("action"), visit.said("why")
    if action == "approve_many":
        chosen = [stream_named(name) for name in visit.all_said("stream")]
        if not chosen:
            raise NotPossible("nothing is marked", remedy="Mark the tables first.")
        return _told(visit, service.approve_many(visit.ledger, visit.actor, chosen, why))
    stream, columns = stream_named(visit.said("stream")), visit.all_said("column")
    if not columns and action != "reject_all":
        raise NotPossible("no column is marked", remedy="Mark the columns first.")
    back = visit.back(HERE)
    if action == "approve":
        seen = visit.said("as_of")
        as_of = int(seen) if seen.isdecimal() and len(seen) < 19 else None
        done = service.approve(visit.ledger, visit.actor, stream, columns, why, as_of=as_of)
    elif action in ("reject", "reject_all"):
        done = service.reject(visit.ledger, visit.actor, stream, columns if action == "reject" else (), why)
    elif action == "withdraw":
        done = service.withdraw(visit.ledger, visit.actor, stream, columns, why)
    else:
        raise NotPossible(f"{action[:40]!r} is nothing that can be decided", remedy="Press one of the buttons.")
    key = {"approve": "approvals.approved", "withdraw": "approvals.withdrawn"}.get(action, "approvals.rejected")
    return visit.done(back, key, stream=stream, count=len(done))


def _told(visit: Visit, outcomes: Sequence[Outcome]) -> Done:
    visit.console.forget()
    done = [outcome for outcome in outcomes if outcome.error is None]
    messages = [Message("good", visit.words.count("approvals.many", len(done)))] if done else []
    messages += [
        Message("bad", str(outcome.stream), visit.words.of_error(outcome.error))
        for outcome in outcomes
        if outcome.error is not None
    ]
    return Done(visit.back(HERE), tuple(messages))
