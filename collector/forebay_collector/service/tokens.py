"""API tokens: `fba1_` and 256 random bits, for a program that works for an account. The ledger keeps the hash.

A token may at most what its account may, now: whatever the account loses, its tokens lose.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from forebay_collector.errors import NotKnown, NotPermitted, NotPossible
from forebay_collector.ledger import Ledger, accounts, api_tokens, audit
from forebay_collector.ledger.api_tokens import ApiTokenRecord
from forebay_collector.service.actor import Actor, Permission, Role
from forebay_collector.service.login import UNKNOWN, secret_hash
from forebay_collector.service.scope import checked_departments, known_name, require_within, visible

PREFIX: Final = "fba1_"
LONGEST: Final = timedelta(days=366)
DEFAULT_LIFE: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class NewToken:
    """text: the token itself, shown once."""

    id: int
    text: str = field(repr=False)
    expires_at: int


def make_token(
    ledger: Ledger,
    actor: Actor,
    label: str,
    *,
    roles: Iterable[Role | str],
    departments: Iterable[str] | None = None,
    life: timedelta = DEFAULT_LIFE,
    account: str = "",
    latest: int | None = None,
) -> NewToken:
    """A token of the actor's own account, or, from the command line, of another `account`.

    departments: None for all that the account has. latest: when it ends, however long its life is, microseconds.

    Raises:
        NotPermitted: a role or department that the account has not; somebody else's account.
        NotPossible: no label, no role, or a life too long.
        NotKnown: there is no such account.
    """
    at = ledger.database.clock()
    if not label.strip() or len(label) > 200 or not label.isprintable():
        raise NotPossible("a token needs a label", remedy="Say in a few words what the token is for.")
    if not timedelta(0) < life <= LONGEST:
        raise NotPossible(f"a token lives at most {LONGEST.days} days", remedy="Choose a shorter life.")
    scope = checked_departments(departments)
    text = PREFIX + secrets.token_urlsafe(32)
    with ledger.database.write() as connection:
        name = known_name(account) if account else actor.name
        found = visible(actor, accounts.find(connection, name), name)
        if found.name != actor.name:
            actor.require(Permission.ADMINISTER)
            if actor.via != "cli":
                raise NotPermitted("only the command line makes a token of somebody else's account")
        if found.disabled_at or found.must_change:
            raise NotPossible(f"account {found.name} is disabled, or must change its password first")
        wanted = _roles(roles, frozenset(found.roles) & actor.roles)
        if scope is not None and found.departments is not None and not scope <= found.departments:
            raise NotPermitted(f"account {found.name} has not all of these departments")
        scope = found.departments if scope is None else scope
        require_within(actor, scope)
        expires_at = at + life // timedelta(microseconds=1)
        expires_at = expires_at if latest is None else min(expires_at, latest)
        number = api_tokens.add(
            connection,
            secret_hash(text),
            account=found.name,
            label=label.strip(),
            roles=frozenset(wanted),
            departments=scope,
            at=at,
            who=actor.name,
            expires_at=expires_at,
        )
        detail = {"via": actor.via, "token": number, "label": label.strip(), "roles": sorted(wanted)}
        detail |= {"departments": None if scope is None else sorted(scope), "expires_at": expires_at}
        audit.record(connection, at, actor.name, "API token", found.name, detail=detail, department="")
    return NewToken(number, text, expires_at)


@dataclass(frozen=True, slots=True)
class Holder:
    """A program, and the token that it came with. token: its number."""

    actor: Actor
    token: int
    label: str
    expires_at: int


def holder(ledger: Ledger, token: str) -> Holder | None:
    """Which program this is; None when the token is not known, revoked, expired, or its account cannot log in."""
    found = ledger.api_tokens.find(secret_hash(token)) if token.startswith(PREFIX) else None
    account = ledger.accounts.get(found.account) if found else None
    if found is None or account is None or account.disabled_at or account.must_change:
        return None
    roles = frozenset(Role(role) for role in found.roles & account.roles)
    departments = account.departments
    if found.departments is not None:
        departments = found.departments if departments is None else found.departments & departments
    return Holder(Actor(account.name, roles, departments, "api"), found.id, found.label, found.expires_at)


def actor_of_token(ledger: Ledger, token: str) -> Actor | None:
    """As `holder`, just the actor."""
    found = holder(ledger, token)
    return found.actor if found else None


def note_refusal(ledger: Ledger, token: str, peer: str) -> None:
    """Puts into the audit that a token was refused: whose it was, when it is known. The caller sees that it is not often."""
    known = ledger.api_tokens.by_secret(secret_hash(token))
    who = known.account if known else UNKNOWN
    detail = {"via": "api", "peer": peer} | ({"token": known.id, "label": known.label} if known else {})
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        audit.record(connection, at, who, "API token refused", who, detail=detail, department="")


def revoke_token(ledger: Ledger, actor: Actor, number: int, why: str = "") -> None:
    """Ends one token of one's own, or as administrator anybody's. Raises NotPermitted, NotKnown."""
    at = ledger.database.clock()
    token = ledger.api_tokens.get(number)
    if token is None:
        raise NotKnown(f"there is no API token {number}")
    with ledger.database.write() as connection:
        found = visible(actor, accounts.find(connection, token.account), token.account)
        if found.name != actor.name:
            actor.require(Permission.ADMINISTER)
        if api_tokens.revoke(connection, at, number=number):
            detail = {"via": actor.via, "token": number, "label": token.label}
            audit.record(connection, at, actor.name, "API token revoked", found.name, why, detail, department="")


def listing(ledger: Ledger, actor: Actor, name: str = "") -> list[ApiTokenRecord]:
    """Newest first, of one account or of all that the actor may know of; one's own without being administrator."""
    wanted = known_name(name) if name else ""
    if wanted:
        visible(actor, ledger.accounts.get(wanted), name)
    if wanted != actor.name:
        actor.require(Permission.ADMINISTER)
    known = {account.name for account in ledger.accounts.listing() if _knows(actor, account)}
    return [token for token in ledger.api_tokens.listing(wanted) if token.account in known]


def _knows(actor: Actor, account: accounts.AccountRecord) -> bool:
    try:
        return visible(actor, account, account.name) is account
    except NotKnown:
        return False


def _roles(roles: Iterable[Role | str], most: frozenset[str]) -> frozenset[Role]:
    try:
        wanted = frozenset(Role(role) for role in roles)
    except ValueError:
        raise NotPossible("no such role", remedy=f"There are {', '.join(Role)}.") from None
    if not wanted:
        raise NotPossible("a token needs at least one role", remedy=f"There are {', '.join(Role)}.")
    if not wanted <= most:
        raise NotPermitted(f"the account has not the role {', '.join(sorted(wanted - most))}")
    return wanted
