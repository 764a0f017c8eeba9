"""Agents: all of them, one with its streams, its health over time, its configuration, its certificates."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import Field

from forebay_collector.api.operation import Call, Noun
from forebay_collector.api.paging import Part, by_text
from forebay_collector.api.rollouts import Offer
from forebay_collector.api.values import (
    Answer,
    Asked,
    AskedMoment,
    At,
    Moment,
    Name,
    Page,
    Paged,
    Reasoned,
    to_us,
)
from forebay_collector.ledger.history import HealthSample
from forebay_collector.service import configuration, fleet, identity
from forebay_collector.service.actor import Permission
from forebay_collector.service.configuration import EffectiveView
from forebay_collector.service.fleet import AgentView, Colour

NOUN = Noun("agents", "The daemons on the departments' appliances, and how each stands.")
HOUR_US = timedelta(hours=1) // timedelta(microseconds=1)


class Cause(Answer):
    """Why something stands as it does."""

    code: str
    reason: str
    remedy: str


class AgentStream(Answer):
    """One of an agent's streams, as the agent last told and as it stands here."""

    stream: str = Field(validation_alias="name")
    colour: Colour
    state: str
    code: str
    reason: str
    remedy: str
    mode: str
    guarantee: str
    position: str
    epoch: int
    sealed_seq: int
    durable: At
    loaded: At
    batches_behind: int = Field(validation_alias="behind", description="Batches that are durable and not loaded.")
    outbox_batches: int = Field(description="Batches that are sealed and not durable.")
    lag_s: float = Field(description="Age of the oldest change that is received and not loaded.")
    rows_captured: int
    last_change_at: Moment
    last_poll_at: Moment
    snapshot_done: float = Field(description="The part of the snapshot that is taken, 0 to 1.")
    log_hours_left: float | None = Field(description="How much longer the source keeps its log than is captured.")
    log_bytes_behind: int
    columns_waiting: list[str] = Field(description="Columns that wait for approval.")


class Canary(Answer):
    """The newest canary of a source: a message that goes the whole way to the platform."""

    source: str
    kind: str
    made_at: Moment
    loaded_at: Moment
    round_trip_us: int = Field(description="Of the last that was loaded; 0: none was.")
    late_s: float = Field(description="How long the one under way is overdue.")
    code: str
    reason: str


class Agent(Answer):
    """How an agent stands."""

    name: str
    department: str
    state: Colour
    why: list[Cause]
    last_seen_at: Moment
    connected_since: Moment
    version: str
    hostname: str
    outbox: dict[str, Any] = Field(description="As the agent tells it: bytes, cap_bytes, batches, …")
    offer_revision: int = Field(description="The offer that is in force; 0: none.")
    paused: bool
    configuration_hash: str
    configuration_refusal: str
    certificate_expires_at: Moment
    clock_offset_us: int
    heartbeat_ms: int
    enrolled_at: Moment
    revoked_at: Moment


class AgentDetail(Agent):
    """An agent with its appliance's health, its streams and its canaries."""

    health: dict[str, Any] = Field(description="As the agent tells it.")
    streams: list[AgentStream]
    canaries: list[Canary]
    offer: Offer | None = Field(description="The newest offer that was made to it.")


class Agents(Page[Agent]):
    pass


class AgentsAsked(Paged):
    department: Name = Field("", description="Only of this department.")
    state: Colour | None = Field(None, description="Only those that stand so.")
    q: Name = Field("", description="Only those with this text in name, department or host name.")


class Sample(Answer):
    """How an agent was at the first heartbeat of a minute. Sizes in bytes; load_percent: 100 is one runnable process."""

    at: Moment
    cpu_permille: int
    load_percent: int
    memory_used_permille: int
    disk_free_bytes: int = Field(validation_alias="disk_free")
    agent_rss_bytes: int = Field(validation_alias="agent_rss")
    outbox_batches: int
    outbox_bytes: int
    clock_offset_us: int = Field(validation_alias="clock_offset")
    streams_troubled: int
    round_trip_us: int = Field(validation_alias="round_trip", description="Of the slowest canary.")


class Samples(Answer):
    """In order of time."""

    items: list[Sample]


class HealthAsked(Asked):
    since: AskedMoment | None = Field(None, description="From then on; without it for the last six hours.")


class Configuration(Answer):
    """What is in force at an agent, as it says; without secrets."""

    agent: str
    offer_revision: int = Field(validation_alias="revision", description="Of the offer in force; 0: none.")
    settings: dict[str, Any] | None = Field(description="Of that offer; null: the ledger has no such offer.")
    configuration_hash: str = Field(validation_alias="hash", description="Of files and offer together.")
    configuration_refusal: str = Field(validation_alias="refusal", description="Why its newest files are not in force.")
    newest_offer: Offer | None = Field(validation_alias="newest")
    configuration: dict[str, Any] | None = Field(
        description="All that was in force when it last applied an offer; null: it never told."
    )


class Offers(Answer):
    """Everything that was offered to an agent, newest first."""

    items: list[Offer]


class Certificate(Answer):
    """A certificate that the agent was given. ended_by: empty while nothing ended it."""

    serial: str
    issued_at: Moment
    expires_at: Moment
    ended_at: Moment
    ended_by: str


class Certificates(Answer):
    """Newest first."""

    items: list[Certificate]


def agents(call: Call[AgentsAsked, None]) -> Part[AgentView]:
    asked = call.query
    wanted = asked.q.casefold()
    found = call.recent("agents", lambda: fleet.agents(call.ledger, call.actor))
    chosen = (
        view
        for view in found
        if (not asked.department or view.department == asked.department)
        and (asked.state is None or view.state is asked.state)
        and (not wanted or wanted in f"{view.name} {view.department} {view.hostname}".casefold())
    )
    return by_text(chosen, asked, lambda view: f"{view.department}/{view.name}")


def agent(call: Call[None, None]) -> AgentView:
    return fleet.agent(call.ledger, call.actor, call.path["agent"])


def health(call: Call[HealthAsked, None]) -> dict[str, list[HealthSample]]:
    since = to_us(call.query.since) if call.query.since else call.ledger.database.clock() - 6 * HOUR_US
    return {"items": fleet.health(call.ledger, call.actor, call.path["agent"], since)}


def effective(call: Call[None, None]) -> EffectiveView:
    return configuration.effective(call.ledger, call.actor, call.path["agent"])


def offers(call: Call[None, None]) -> dict[str, object]:
    return {"items": configuration.offers_of(call.ledger, call.actor, call.path["agent"])}


def certificates(call: Call[None, None]) -> dict[str, object]:
    return {"items": identity.certificates(call.ledger, call.actor, call.path["agent"])}


def revoke(call: Call[None, Reasoned]) -> None:
    identity.revoke(call.ledger, call.actor, call.path["agent"], call.body.why)


NOUN.get("/agents", "agents", "The agents, by department and name", agents, Agents, query=AgentsAsked)
NOUN.get("/agents/{agent}", "agent", "One agent, with its streams and its health now", agent, AgentDetail)
NOUN.get(
    "/agents/{agent}/health",
    "agentHealth",
    "Its health over time, a sample a minute",
    health,
    Samples,
    query=HealthAsked,
)
NOUN.get(
    "/agents/{agent}/configuration", "agentConfiguration", "Its configuration as applied", effective, Configuration
)
NOUN.get("/agents/{agent}/offers", "agentOffers", "What was ever offered to it", offers, Offers)
NOUN.get("/agents/{agent}/certificates", "agentCertificates", "Its certificates", certificates, Certificates)
NOUN.post(
    "/agents/{agent}/revoke",
    "revokeAgent",
    "Refuse its certificate from now on",
    revoke,
    needs=Permission.ADMINISTER,
    body=Reasoned,
)
