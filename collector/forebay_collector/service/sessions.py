"""Sessions: a random token in a cookie, of which the ledger keeps the hash.

A session says who it is, not what they may: that is looked up with every request, so that a changed role or a disabled
account acts at once. It ends when idle, when it is too old, when the password changes, and at log-out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta

from forebay_collector.ledger import Ledger, accounts, audit, sessions
from forebay_collector.ledger.sessions import SessionRecord
from forebay_collector.service.actor import Actor, Permission
from forebay_collector.service.login import actor_of, secret_hash
from forebay_collector.service.scope import DEFAULT_RULES, known_name, visible
from forebay_collector.settings import AccountSettings


@dataclass(frozen=True, slots=True)
class Session:
    """Someone who is logged in. must_change_password: until then the actor has no role."""

    actor: Actor
    must_change_password: bool
    created_at: int
    expires_at: int


def open_session(ledger: Ledger, actor: Actor, *, replaces: str = "", rules: AccountSettings = DEFAULT_RULES) -> str:
    """A session for an actor who has just logged in; -> its token, which nobody else ever sees again.

    replaces: the token that the browser had before, which ends: a token from before the log-in is worth nothing after it.
    """
    token = secrets.token_urlsafe(32)
    at = ledger.database.clock()
    tick = timedelta(microseconds=1)
    with ledger.database.write() as connection:
        if replaces:
            sessions.end(connection, secret_hash(replaces))
        expires_at = at + rules.session // tick
        sessions.add(connection, secret_hash(token), actor.name, at, idle=rules.idle // tick, expires_at=expires_at)
    return token


def session_of(ledger: Ledger, token: str, *, keeps_alive: bool = True) -> Session | None:
    """Who holds the token; None when it is nobody's, has ended, or the account is disabled.

    keeps_alive: whether this counts as use; a page that updates itself does not.
    """
    found = ledger.sessions.find(secret_hash(token), keeps_alive=keeps_alive) if token else None
    account = ledger.accounts.get(found.account) if found else None
    if found is None or account is None or account.disabled_at:
        return None
    return Session(actor_of(account, "console"), account.must_change, found.created_at, found.expires_at)


def actor_of_session(ledger: Ledger, token: str) -> Actor | None:
    """As `session_of`, just the actor."""
    session = session_of(ledger, token)
    return session.actor if session else None


def close_session(ledger: Ledger, token: str) -> None:
    """Logs out. A token that is nobody's is no error."""
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        name = sessions.end(connection, secret_hash(token))
        if name is not None:
            audit.record(connection, at, name, "log-out", name, detail={"via": "console"}, department="")


def close_sessions(ledger: Ledger, actor: Actor, name: str, why: str = "") -> int:
    """Ends all sessions of an account, one's own or another's; -> how many. Raises NotPermitted, NotKnown."""
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        found = visible(actor, accounts.find(connection, known_name(name)), name)
        if found.name != actor.name:
            actor.require(Permission.ADMINISTER)
        ended = sessions.end_all(connection, found.name)
        detail = {"via": actor.via, "sessions": ended}
        audit.record(connection, at, actor.name, "sessions ended", found.name, why, detail, department="")
    return ended


def listing(ledger: Ledger, actor: Actor, name: str) -> list[SessionRecord]:
    """The account's sessions, the last used first. Raises NotPermitted, NotKnown."""
    found = visible(actor, ledger.accounts.get(known_name(name)), name)
    if found.name != actor.name:
        actor.require(Permission.ADMINISTER)
    return ledger.sessions.listing(found.name)


def form_token(session_token: str) -> str:
    """What a form of this session carries, so that no other site can send it: derived, hence never stored."""
    return hmac.new(session_token.encode(), b"forebay form 1", hashlib.sha256).hexdigest()


def form_token_fits(session_token: str, given: str) -> bool:
    return hmac.compare_digest(form_token(session_token).encode(), given.encode("utf-8", "surrogatepass"))
