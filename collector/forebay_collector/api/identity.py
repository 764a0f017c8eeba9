"""Identity: tokens with which agents enrol, and what looks like a stolen identity. Certificates stand with their agents."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from pydantic import Field

from forebay_collector.api.operation import Call, Noun
from forebay_collector.api.values import Answer, Asked, AskedMoment, Count, Flag, Moment, Needed, Number, Reason, to_us
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.token import DEFAULT_LIFE
from forebay_collector.service import identity as service
from forebay_collector.service.actor import Permission

NOUN = Noun("identity", "Who may enrol, and what looks like a stolen identity.")
_ALARMS_OF: Final = timedelta(days=30)
_US: Final = timedelta(microseconds=1)


class EnrolmentToken(Answer):
    """What a token is good for, never the token."""

    agent: str
    department: str
    created_at: Moment
    created_by: str
    expires_at: Moment
    used_at: Moment


class EnrolmentTokens(Answer):
    """Newest first."""

    items: list[EnrolmentToken]


class EnrolmentTokensAsked(Asked):
    usable: Flag = Field(True, description="Only those with which an agent can still enrol.")


class EnrolmentTokenWanted(Asked):
    """A token with which one agent enrols, once."""

    agent: Needed
    department: Needed
    life_s: Number = Field(DEFAULT_LIFE // timedelta(seconds=1), ge=60, le=service.LONGEST_LIFE // timedelta(seconds=1))
    why: Reason = ""


class NewEnrolmentToken(Answer):
    """text: the token itself, which travels like a password. It is shown in this answer and never again."""

    agent: str
    department: str
    expires_at: Moment
    text: str


class Alarm(Answer):
    """An entry of the audit that says that somebody may be using what is not theirs. count: how often, in that entry."""

    id: int
    at: Moment
    action: str
    who: str
    subject: str
    peer: str
    why: str
    count: int
    urgent: bool
    meaning: str
    remedy: str


class Alarms(Answer):
    """Newest first."""

    items: list[Alarm]


class AlarmsAsked(Asked):
    since: AskedMoment | None = Field(None, description="From then on; without it for the last 30 days.")
    limit: Count = Field(100, ge=1, le=1_000, description="How many at most.")


def tokens(call: Call[EnrolmentTokensAsked, None]) -> dict[str, Any]:
    return {"items": service.tokens(call.ledger, call.actor, usable=call.query.usable)}


def make(call: Call[None, EnrolmentTokenWanted]) -> dict[str, Any]:
    body, settings = call.body, call.works.settings
    call.actor.require(Permission.ADMINISTER, body.department)
    made = service.make_token(
        call.ledger,
        Authority.load(settings.data.identity),
        call.actor,
        body.agent,
        body.department,
        addresses=settings.addresses,
        life=timedelta(seconds=body.life_s),
        why=body.why,
    )
    return {"agent": made.agent, "department": made.department, "expires_at": made.expires_at, "text": made.to_text()}


def alarms(call: Call[AlarmsAsked, None]) -> dict[str, Any]:
    now = call.ledger.database.clock()
    since = to_us(call.query.since) if call.query.since else now - _ALARMS_OF // _US
    return {"items": service.alarms(call.ledger, call.actor, since, limit=call.query.limit)}


NOUN.get(
    "/enrolment-tokens",
    "enrolmentTokens",
    "The tokens with which agents enrol",
    tokens,
    EnrolmentTokens,
    query=EnrolmentTokensAsked,
    needs=Permission.ADMINISTER,
)
NOUN.post(
    "/enrolment-tokens",
    "makeEnrolmentToken",
    "Make a token with which one agent enrols, once",
    make,
    NewEnrolmentToken,
    needs=Permission.ADMINISTER,
    body=EnrolmentTokenWanted,
    status=201,
)
NOUN.get(
    "/identity-alarms",
    "identityAlarms",
    "What looks like a stolen identity, newest first",
    alarms,
    Alarms,
    query=AlarmsAsked,
)
