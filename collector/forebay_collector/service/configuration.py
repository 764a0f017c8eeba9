"""Configuration that the centre offers: it tunes or tightens what the department's own files say, and never widens.

An offer is the whole of what is overlaid at an agent: a later one takes its place. The agent checks it against its own
files, applies it or refuses it with reasons, and keeps the last good one in force. A staged roll-out gives it to one
agent first; the others get it once that one has applied it and stayed healthy for a time (`[control] trial`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from forebay_collector.errors import NotKnown, NotPossible
from forebay_collector.ledger import Ledger, audit, offers
from forebay_collector.ledger.offers import OfferRecord, RolloutRecord
from forebay_collector.service import fleet
from forebay_collector.service.actor import Actor, Permission
from forebay_collector.settings import ControlSettings

TRIAL: Final = ControlSettings().trial
LONGEST: Final = 64 << 10
_US: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A roll-out and its offers, the first agent's first. state: trial, rest, done, stopped, cancelled."""

    id: int
    settings: Mapping[str, Any]
    made_by: str
    made_at: int
    why: str
    staged: bool
    trial: timedelta
    state: str
    reason: str
    ended_at: int
    offers: tuple[OfferRecord, ...]


@dataclass(frozen=True, slots=True)
class EffectiveView:
    """What is in force at an agent, as it says. settings: of the offer that it applied; None: the ledger has no such offer.

    revision: of that offer, 0: none. hash: of files and offer together. refusal: why its newest files are not in force.
    newest: the newest offer made to it, and what became of it. configuration: all that was in force when it applied an
    offer last, files and offer together, without secrets; None: it never told.
    """

    agent: str
    revision: int
    settings: Mapping[str, Any] | None
    hash: str
    refusal: str
    newest: OfferRecord | None
    configuration: Mapping[str, Any] | None


def offer(
    ledger: Ledger,
    actor: Actor,
    agents: Sequence[str],
    settings: Mapping[str, Any],
    why: str,
    staged: bool = True,
    trial: timedelta = TRIAL,
) -> int:
    """Offers these settings to the agents; -> the roll-out's id. settings: path -> value, {}: nothing is overlaid any more.

    staged: the first agent named tries it. Offers of these agents that are still open give way.

    Raises: NotKnown; NotPermitted; NotPossible: an agent is revoked, none is named, or the settings cannot be offered.
    """
    names = list(dict.fromkeys(agents))
    if not names:
        raise NotPossible("no agent is named", remedy="Name at least one agent.")
    _check(settings)
    told: dict[str, int] = {}
    for name in names:
        record = fleet.need(ledger, actor, name, Permission.OPERATE)
        if record.revoked_at:
            raise NotPossible(f"agent {name} is revoked", remedy="Leave it out, or enrol it again first.")
        told[name] = int((record.health.get("offer") or {}).get("revision", 0))
    waits = (trial // _US if len(names) > 1 else 0) if staged else 0
    with ledger.database.write() as connection:
        at = ledger.database.clock()
        made = offers.make(connection, at, told, settings, who=actor.name, why=why, trial=waits)
        detail = {"rollout": made, "settings": dict(settings), "agents": names, "staged": waits > 0, "via": actor.via}
        for name in names:
            audit.record(connection, at, actor.name, "offer", name, why, detail)
    return made


def cancel(ledger: Ledger, actor: Actor, rollout: int, why: str) -> RolloutView:
    """Ends a roll-out: who has not got the offer does not get it. Raises NotKnown, NotPermitted, NotPossible (it has ended)."""
    view = _one(ledger, actor, rollout)
    for one in view.offers:
        fleet.need(ledger, actor, one.agent, Permission.OPERATE)
    with ledger.database.write() as connection:
        at = ledger.database.clock()
        if not offers.end(connection, at, rollout, offers.CANCELLED, why, actor.name, actor.via):
            raise NotPossible(f"roll-out {rollout} has ended already: it is {view.state}")
    return _one(ledger, actor, rollout)


def rollouts(ledger: Ledger, actor: Actor, limit: int = 100, before: int | None = None) -> list[RolloutView]:
    """Newest first, at most `limit`; of each, the offers to agents that the actor may see. before: only smaller ids."""
    actor.require(Permission.SEE)
    found: list[RolloutView] = []
    while len(found) < limit:
        records = ledger.offers.rollouts(limit=limit, before=before)
        found += _views(ledger, actor, records)
        if len(records) < limit:
            break
        before = records[-1].id  # others' roll-outs stood among them
    return found[:limit]


def rollout(ledger: Ledger, actor: Actor, number: int) -> RolloutView:
    """Raises NotKnown, NotPermitted."""
    return _one(ledger, actor, number)


def offers_of(ledger: Ledger, actor: Actor, agent: str) -> list[OfferRecord]:
    """Everything that was ever offered to the agent, newest first. Raises NotKnown, NotPermitted."""
    fleet.need(ledger, actor, agent)
    return ledger.offers.of_agent(agent)


def effective(ledger: Ledger, actor: Actor, agent: str) -> EffectiveView:
    """Raises NotKnown, NotPermitted."""
    record = fleet.need(ledger, actor, agent)
    made = ledger.offers.of_agent(agent)
    revision = int(record.health.get("offer_revision", 0))
    settings: Mapping[str, Any] | None = {} if not revision else None
    for one in made:
        if one.revision == revision and (found := ledger.offers.rollout(one.rollout_id)) is not None:
            settings = found.settings
    return EffectiveView(
        agent=agent,
        revision=revision,
        settings=settings,
        hash=str(record.health.get("configuration_hash", "")),
        refusal=str(record.health.get("configuration_refusal", "")),
        newest=next(iter(made), None),
        configuration=next((json.loads(one.configuration) for one in made if one.configuration), None),
    )


def _check(settings: Mapping[str, Any]) -> None:
    try:
        text = json.dumps(settings, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise NotPossible(
            f"the settings are no JSON: {error}", remedy="Offer texts, numbers, booleans, lists."
        ) from None
    if any(not isinstance(path, str) or not path for path in settings):
        raise NotPossible("a setting has no name", remedy="Name each setting by its path.")
    if len(text.encode()) > LONGEST:
        raise NotPossible(f"the settings take more than {LONGEST} bytes", remedy="Offer less at once.")


def _one(ledger: Ledger, actor: Actor, number: int) -> RolloutView:
    found = ledger.offers.rollout(number)
    views = _views(ledger, actor, [found]) if found is not None else []
    if not views:
        raise NotKnown(f"roll-out {number} is not in the ledger", remedy="See `forebay-collector offer list`.")
    return views[0]


def _views(ledger: Ledger, actor: Actor, records: Sequence[RolloutRecord]) -> list[RolloutView]:
    seen = {record.name for record in ledger.agents.listing(departments=actor.departments)}
    made: dict[int, list[OfferRecord]] = {}
    for one in ledger.offers.of_rollouts([record.id for record in records]):
        if one.agent in seen:
            made.setdefault(one.rollout_id, []).append(one)
    return [
        RolloutView(
            id=record.id,
            settings=record.settings,
            made_by=record.created_by,
            made_at=record.created_at,
            why=record.why,
            staged=record.trial > 0,
            trial=record.trial * _US,
            state=record.state,
            reason=record.reason,
            ended_at=record.ended_at,
            offers=tuple(made[record.id]),
        )
        for record in records
        if record.id in made
    ]
