"""Identity: tokens with which agents enrol, what looks like a stolen identity, and shutting an agent out."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from forebay_collector.console.answers import Done, Page
from forebay_collector.console.rendering import agent_path
from forebay_collector.console.visit import Visit
from forebay_collector.errors import NotPossible
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.token import Token
from forebay_collector.service import identity as service

_ALARMS_OF: Final = timedelta(days=30)
_HOURS: Final = 24
_MOST_HOURS: Final = 720


def identity(visit: Visit) -> Page:
    return _page(visit, None)


def make_token(visit: Visit) -> Page:
    """A token for one enrolment. It is shown in this answer and never again, so that it is in no address and no cookie."""
    hours = visit.said("hours") or str(_HOURS)
    if not hours.isdecimal() or not 0 < int(hours[:6]) <= _MOST_HOURS:
        raise NotPossible(f"a token lives for 1 to {_MOST_HOURS} hours", remedy="Choose another number of hours.")
    made = service.make_token(
        visit.ledger,
        Authority.load(visit.console.settings.data.identity),
        visit.actor,
        visit.said("agent"),
        visit.said("department"),
        addresses=visit.console.settings.addresses,
        life=timedelta(hours=int(hours)),
        why=visit.said("why"),
    )
    return _page(visit, made)


def revoke(visit: Visit) -> Done:
    """From now on the agent's certificate is refused."""
    agent = visit.said("agent")
    service.revoke(visit.ledger, visit.actor, agent, visit.said("why"))
    return visit.done(agent_path(agent), "identity.revoked", agent=agent)


def _page(visit: Visit, made: Token | None) -> Page:
    since = visit.ledger.database.clock() - _ALARMS_OF // timedelta(microseconds=1)
    return Page(
        "identity.html",
        {
            "tokens": service.tokens(visit.ledger, visit.actor),
            "alarms": service.alarms(visit.ledger, visit.actor, since),
            "departments": sorted({view.department for view in visit.agents()}),
            "made": made,
        },
        live=made is None,
    )
