"""Identity: who may enrol, which certificates agents have, who is shut out, and what looks like a stolen identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from forebay_collector.errors import NotKnown, NotPossible
from forebay_collector.identity import token as tokens_of
from forebay_collector.identity.alarms import ALARMS
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.token import DEFAULT_LIFE, Token
from forebay_collector.ledger import AgentRecord, AuditRecord, Ledger, TokenRecord
from forebay_collector.ledger.certificates import CertificateRecord
from forebay_collector.service.actor import Actor, Permission

LONGEST_LIFE: Final = timedelta(days=30)
"""of a token: who has it can enrol"""


@dataclass(frozen=True, slots=True)
class AlarmView:
    """An entry of the audit that says that somebody may be using what is not theirs. count: how often, in that entry."""

    id: int
    at: int
    action: str
    who: str
    subject: str
    peer: str
    why: str
    count: int
    detail: Mapping[str, Any]
    urgent: bool
    meaning: str
    remedy: str


def make_token(
    ledger: Ledger,
    authority: Authority,
    actor: Actor,
    agent: str,
    department: str,
    *,
    addresses: Sequence[str],
    life: timedelta = DEFAULT_LIFE,
    why: str = "",
) -> Token:
    """A token with which one agent enrols, once. Its text is a secret: it is shown to whoever asked, and kept nowhere.

    Raises:
        NotPermitted: the actor does not administer the department.
        NotPossible: a name cannot be used, is another department's, or the life is too long.
    """
    actor.require(Permission.ADMINISTER, department)
    if not timedelta(0) < life <= LONGEST_LIFE:
        raise NotPossible(f"a token lives at most {LONGEST_LIFE.days} days", remedy="Choose a shorter life.")
    return tokens_of.make_token(
        ledger,
        authority,
        agent=agent,
        department=department,
        addresses=addresses,
        who=actor.name,
        life=life,
        why=why.strip(),
        detail={"via": actor.via},
    )


def tokens(ledger: Ledger, actor: Actor, *, usable: bool = True) -> list[TokenRecord]:
    """The newest first; what they are good for, never their secrets. Raises NotPermitted."""
    actor.require(Permission.ADMINISTER)
    return ledger.tokens.listing(departments=actor.departments, usable=usable)


def revoke(ledger: Ledger, actor: Actor, agent: str, why: str) -> None:
    """From now on the agent's certificate is refused, open connections end within seconds, and its tokens are no good.

    Raises:
        NotPermitted: the actor does not administer the agent's department.
        NotKnown: there is no such agent.
        NotPossible: it is revoked already, or no reason is given.
    """
    actor.require(Permission.ADMINISTER)
    record = _need(ledger, actor, agent)
    actor.require(Permission.ADMINISTER, record.department)
    if not why.strip():
        raise NotPossible("a reason is needed: it is kept for ever beside the deed", remedy="Say why.")
    if record.revoked_at:
        raise NotPossible(f"agent {agent} is revoked already", remedy="To let it in again, enrol it with a new token.")
    ledger.agents.revoke(agent, who=actor.name, why=why.strip(), detail={"via": actor.via})


def certificates(ledger: Ledger, actor: Actor, agent: str) -> list[CertificateRecord]:
    """Every certificate that the agent was given, the newest first. Raises NotKnown."""
    _need(ledger, actor, agent)
    return ledger.certificates.listing(agent)


def alarms(ledger: Ledger, actor: Actor, since: int, *, limit: int = 100) -> list[AlarmView]:
    """What was recorded at or after `since` (microseconds), the newest first. Raises NotPermitted.

    What concerns no department in particular is told to those who see all of them.
    """
    actor.require(Permission.SEE)
    found = [
        entry
        for action in ALARMS
        for entry in ledger.audit.listing(action=action, departments=actor.departments, since=since, limit=limit)
    ]
    return [_view(entry) for entry in sorted(found, key=lambda entry: entry.id, reverse=True)[:limit]]


def _need(ledger: Ledger, actor: Actor, agent: str) -> AgentRecord:
    record = ledger.agents.get(agent)
    if record is None or not actor.sees(record.department):
        raise NotKnown(f"agent {agent} is not in the ledger")
    return record


def _view(entry: AuditRecord) -> AlarmView:
    alarm = ALARMS[entry.action]
    return AlarmView(
        entry.id,
        entry.at,
        entry.action,
        entry.who,
        entry.subject,
        str(entry.detail.get("peer", "")),
        entry.why,
        int(entry.detail.get("count", 1)),
        entry.detail,
        alarm.urgent,
        alarm.meaning,
        alarm.remedy,
    )
