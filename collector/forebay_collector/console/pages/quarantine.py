"""Quarantine: what is held and why, and what people decide about it, one or many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from forebay_collector.console.answers import Done, Message, Page
from forebay_collector.console.visit import Visit, stream_named
from forebay_collector.errors import NotPossible
from forebay_collector.service import quarantine as service
from forebay_collector.service.quarantine import HeldView, Outcome
from forebay_wire.stream import StreamName

HERE: Final = "/quarantine"
_REFUSALS_TOLD: Final = 5


def held(visit: Visit) -> Page:
    department, code = visit.asked("department"), visit.asked("code")
    every = service.held(visit.ledger, visit.actor)
    chosen = [
        one
        for one in every
        if (not department or one.stream.department == department) and (not code or one.code == code)
    ]
    return Page(
        "quarantine.html",
        {
            "held": sorted(chosen, key=lambda one: (one.held_at, one.stream)),
            "total": len(every),
            "departments": sorted({one.stream.department for one in every}),
            "department": department,
            "codes": sorted({one.code for one in every}),
            "code": code,
            "here": list(visit.query.multi_items()),
            "operates": any(visit.may("operate", one.stream.department) for one in every),
            "reference": reference,
        },
    )


def decide(visit: Visit) -> Done:
    """Replays or discards what is marked: just the batches that the person saw."""
    chosen = dict(_referred(text) for text in visit.all_said("batch"))
    why = visit.why()
    if not chosen:
        raise NotPossible("nothing is marked", remedy="Mark the batches first.")
    if visit.said("action") == "discard":
        if visit.said("sure") != "yes":
            raise NotPossible(
                "a discarded batch never reaches the platform",
                remedy="Mark that you know, and press again.",
            )
        outcomes = service.discard(visit.ledger, visit.actor, list(chosen), why, only=chosen)
        return _told(visit, outcomes, "quarantine.discarded")
    outcomes = service.replay(visit.ledger, visit.actor, list(chosen), why, only=chosen)
    return _told(visit, outcomes, "quarantine.replayed")


def reference(one: HeldView) -> str:
    """A held batch, as a form names it."""
    return f"{one.batch.epoch}/{one.batch.seq} {one.stream}"


def _referred(text: str) -> tuple[StreamName, tuple[int, int]]:
    place, _, name = text.partition(" ")
    epoch, _, seq = place.partition("/")
    if not (epoch.isdecimal() and seq.isdecimal() and len(place) < 40):
        raise NotPossible("that is not a batch", remedy="Load the page again, and mark the batches there.")
    return stream_named(name), (int(epoch), int(seq))


def _told(visit: Visit, outcomes: Sequence[Outcome], key: str) -> Done:
    visit.console.forget()
    done = sum(outcome.error is None for outcome in outcomes)
    messages = [Message("good", visit.words.count(key, done))] if done else []
    failed = [
        Message("bad", str(outcome.stream), visit.words.of_error(outcome.error))
        for outcome in outcomes
        if outcome.error is not None
    ]
    messages += failed[:_REFUSALS_TOLD]
    if len(failed) > _REFUSALS_TOLD:
        messages.append(Message("bad", visit.words("quarantine.more_failed", count=len(failed) - _REFUSALS_TOLD)))
    return Done(visit.back(HERE), tuple(messages))
