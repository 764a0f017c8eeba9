"""Roll-outs: settings that are offered to agents in stages, and what became of each offer."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, JsonValue, StringConstraints

from forebay_collector.api.operation import Call, Noun
from forebay_collector.api.paging import Part, before_number, cut
from forebay_collector.api.values import Answer, Asked, Moment, Needed, Numbered, Page, Reasoned, Why, integer
from forebay_collector.service import configuration
from forebay_collector.service.actor import Permission
from forebay_collector.service.configuration import RolloutView

NOUN = Noun("rollouts", "Settings that tune or tighten, offered to agents in stages.")


Path = Annotated[str, StringConstraints(min_length=1, max_length=300)]
"""Of a setting."""


class Offer(Answer):
    """What was offered to one agent, and what became of it."""

    agent: str
    revision: int
    rollout: int = Field(validation_alias="rollout_id")
    is_first: bool
    state: str
    reason: str
    sent_at: Moment
    decided_at: Moment


class Rollout(Answer):
    """A roll-out, and its offers to the agents that one may see, the first agent's first."""

    id: int
    settings: dict[str, Any] = Field(description="Path -> value; nothing: what was overlaid is taken back.")
    made_by: str
    made_at: Moment
    why: str
    staged: bool = Field(description="Whether one agent tries it before the others get it.")
    trial_s: float = Field(description="How long that one must stay healthy.")
    state: str = Field(description="trial, rest, done, stopped or cancelled")
    reason: str
    ended_at: Moment
    offers: list[Offer]

    @classmethod
    def of(cls, view: RolloutView) -> dict[str, Any]:
        named = {name: getattr(view, name) for name in cls.model_fields if name != "trial_s"}
        return named | {"trial_s": view.trial.total_seconds()}


class Rollouts(Page[Rollout]):
    pass


class RolloutWanted(Asked):
    agents: list[Needed] = Field(min_length=1, max_length=2_000, description="The first tries it, when it is staged.")
    settings: dict[Path, JsonValue] = Field(
        max_length=1_000, description="The whole of what is to be overlaid, path -> value; {}: nothing any more."
    )
    why: Why
    staged: bool = True
    trial_s: Annotated[int, Field(ge=0, le=86_400), BeforeValidator(integer)] | None = Field(
        None, description="How long the first must stay healthy."
    )


def rollouts(call: Call[Numbered, None]) -> Part[dict[str, Any]]:
    asked = call.query
    found = configuration.rollouts(call.ledger, call.actor, asked.limit + 1, before_number(asked))
    part = cut(found, asked, lambda view: str(view.id))
    return Part([Rollout.of(view) for view in part.items], part.next)


def rollout(call: Call[None, None]) -> dict[str, Any]:
    return Rollout.of(configuration.rollout(call.ledger, call.actor, call.number("rollout")))


def offer(call: Call[None, RolloutWanted]) -> dict[str, Any]:
    body = call.body
    trial = call.works.settings.control.trial if body.trial_s is None else timedelta(seconds=body.trial_s)
    made = configuration.offer(
        call.ledger, call.actor, body.agents, body.settings, body.why, staged=body.staged, trial=trial
    )
    return Rollout.of(configuration.rollout(call.ledger, call.actor, made))


def cancel(call: Call[None, Reasoned]) -> dict[str, Any]:
    return Rollout.of(configuration.cancel(call.ledger, call.actor, call.number("rollout"), call.body.why))


NOUN.get("/rollouts", "rollouts", "The roll-outs, newest first", rollouts, Rollouts, query=Numbered)
NOUN.get("/rollouts/{rollout}", "rollout", "One roll-out", rollout, Rollout)
NOUN.post(
    "/rollouts",
    "offer",
    "Offer settings to agents",
    offer,
    Rollout,
    needs=Permission.OPERATE,
    body=RolloutWanted,
    status=201,
    location="/rollouts/{id}",
)
NOUN.post(
    "/rollouts/{rollout}/cancel",
    "cancelRollout",
    "End a roll-out: who has not got the offer does not get it",
    cancel,
    Rollout,
    needs=Permission.OPERATE,
    body=Reasoned,
)
