"""Users: local accounts, what they may, and their passwords. How they come in stands in `login`, `sessions`, `tokens`.

Nobody changes what they themselves may. Whoever administers accounts gives away no more departments than they have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from forebay_collector.errors import LoginRefused, NotPermitted, NotPossible
from forebay_collector.ledger import Ledger, accounts, api_tokens, audit, sessions
from forebay_collector.ledger.accounts import AccountRecord
from forebay_collector.service import passwords
from forebay_collector.service.actor import Actor, Permission, Role
from forebay_collector.service.login import authenticate, log_in_by_link, one_time_login, prove, unlock
from forebay_collector.service.scope import (
    DEFAULT_RULES,
    account_name,
    checked_departments,
    checked_roles,
    known_name,
    require_within,
    visible,
    within,
)
from forebay_collector.service.sessions import actor_of_session, close_session, open_session
from forebay_collector.service.tokens import actor_of_token, make_token
from forebay_collector.settings import AccountSettings

__all__ = [
    "Account",
    "account",
    "actor_of_session",
    "actor_of_token",
    "authenticate",
    "close_session",
    "create",
    "disable",
    "enable",
    "listing",
    "log_in_by_link",
    "make_token",
    "one_time_login",
    "open_session",
    "set_password",
    "set_roles",
]


@dataclass(frozen=True, slots=True)
class Account:
    """One account as people see it. departments: None for all. state: active, disabled, new (never logged in)."""

    name: str
    state: str
    kind: str  # local, oidc
    roles: frozenset[Role]
    departments: frozenset[str] | None
    must_change_password: bool
    has_password: bool
    created_at: int
    created_by: str
    password_at: int
    last_login_at: int
    disabled_at: int
    issuer: str = field(default="", repr=False)


def listing(ledger: Ledger, actor: Actor) -> list[Account]:
    """The accounts that the actor may know of, by name. Raises NotPermitted."""
    actor.require(Permission.ADMINISTER)
    return [_view(record) for record in ledger.accounts.listing() if within(actor, record.departments)]


def account(ledger: Ledger, actor: Actor, name: str) -> Account:
    """One account: one's own, or as administrator another's. Raises NotPermitted, NotKnown."""
    if known_name(name) != actor.name:
        actor.require(Permission.ADMINISTER)
    return _view(visible(actor, ledger.accounts.get(known_name(name)), name))


def create(
    ledger: Ledger,
    actor: Actor,
    name: str,
    roles: Iterable[Role | str],
    departments: Iterable[str] | None = None,
    *,
    password: str = "",
    rules: AccountSettings = DEFAULT_RULES,
) -> Account:
    """A local account. With a password it must be changed at the first log-in; without one it takes a one-time link.

    Raises NotPermitted, NotPossible, PasswordRefused.
    """
    actor.require(Permission.ADMINISTER)
    wanted, scope = checked_roles(roles, rules), checked_departments(departments)
    require_within(actor, scope)
    name = account_name(name)
    at = ledger.database.clock()
    record = AccountRecord(
        name=name,
        issuer="",
        subject="",
        password_hash=_hashed(password, name) if password else "",
        must_change=bool(password),
        roles=frozenset(wanted),
        departments=scope,
        created_at=at,
        created_by=actor.name,
        password_at=at if password else 0,
        last_login_at=0,
        disabled_at=0,
    )
    with ledger.database.write() as connection:
        if accounts.find(connection, name) is not None:
            raise NotPossible(f"there is an account {name}", remedy="Choose another name.")
        accounts.add(connection, record)
        _audit(connection, at, actor, "account", record, detail=_rights(wanted, scope))
    return _view(record)


def set_roles(
    ledger: Ledger,
    actor: Actor,
    name: str,
    roles: Iterable[Role | str],
    departments: Iterable[str] | None = None,
    *,
    why: str = "",
    rules: AccountSettings = DEFAULT_RULES,
) -> Account:
    """What the account may from now on, in its open sessions too. departments: None for all.

    Raises NotPermitted, NotKnown, NotPossible.
    """
    actor.require(Permission.ADMINISTER)
    wanted, scope = checked_roles(roles, rules), checked_departments(departments)
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        found = _others(connection, actor, name)
        require_within(actor, scope)
        if found.issuer:
            raise NotPossible(
                f"what {found.name} may is said by its identity provider",
                remedy="Change the person's groups there; disable the account here.",
            )
        accounts.change(connection, found.name, roles=frozenset(wanted), departments=scope)
        before = _rights(frozenset(Role(role) for role in found.roles), found.departments)
        _audit(connection, at, actor, "roles", found, why, _rights(wanted, scope) | {"before": before})
    return _view(replace(found, roles=frozenset(wanted), departments=scope))


def set_password(
    ledger: Ledger,
    actor: Actor,
    name: str,
    password: str,
    *,
    old: str = "",
    peer: str = "",
    rules: AccountSettings = DEFAULT_RULES,
) -> None:
    """A new password. One's own takes the old one, unless there is none; another's must be changed at the next log-in.

    All sessions and links of the account end; another's API tokens too.

    Raises NotPermitted, NotKnown, NotPossible, PasswordRefused, LoginRefused, LoginLocked.
    """
    own = known_name(name) == actor.name and actor.via != "cli"
    if not own:
        actor.require(Permission.ADMINISTER)
    found = visible(actor, ledger.accounts.get(known_name(name)), name)
    if found.issuer:
        raise NotPossible(f"{found.name} logs in at its identity provider, and has no password here")
    if own and found.password_hash:
        prove(ledger, found.name, old, peer, rules=rules, via=actor.via)
        if old == password:
            raise NotPossible("that is the old password", remedy="Choose another one.")
    kept = _hashed(password, found.name)
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        current = visible(actor, accounts.find(connection, found.name), name)
        if current.password_hash != found.password_hash:
            raise LoginRefused("the password was changed at the same moment")
        accounts.change(connection, found.name, password_hash=kept, must_change=not own, password_at=at)
        ended = {"sessions": sessions.end_all(connection, found.name)}
        if not own:
            ended["tokens"] = api_tokens.revoke(connection, at, account=found.name)
            unlock(connection, found.name)
        _audit(connection, at, actor, "password", found, detail=ended)


def disable(ledger: Ledger, actor: Actor, name: str, why: str) -> None:
    """From now on the account cannot log in; its sessions, links and API tokens end. Raises NotPermitted, NotKnown."""
    actor.require(Permission.ADMINISTER)
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        found = _others(connection, actor, name)
        accounts.change(connection, found.name, disabled_at=found.disabled_at or at)
        ended = {"sessions": sessions.end_all(connection, found.name)}
        ended["tokens"] = api_tokens.revoke(connection, at, account=found.name)
        _audit(connection, at, actor, "account disabled", found, why, ended)


def enable(ledger: Ledger, actor: Actor, name: str, why: str) -> None:
    """The account can log in again. Raises NotPermitted, NotKnown."""
    actor.require(Permission.ADMINISTER)
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        found = _others(connection, actor, name)
        accounts.change(connection, found.name, disabled_at=0)
        _audit(connection, at, actor, "account enabled", found, why)


def _others(connection: Connection, actor: Actor, name: str) -> AccountRecord:
    """The account, which must not be the actor's own."""
    found = visible(actor, accounts.find(connection, known_name(name)), name)
    if found.name == actor.name:
        raise NotPermitted("nobody changes what they themselves may", remedy="Ask another administrator.")
    return found


def _hashed(password: str, name: str) -> str:
    passwords.check(password, name)
    return passwords.hashed(password)


def _rights(roles: frozenset[Role], departments: frozenset[str] | None) -> dict[str, Any]:
    return {"roles": sorted(roles), "departments": None if departments is None else sorted(departments)}


def _audit(
    connection: Connection,
    at: int,
    actor: Actor,
    action: str,
    of: AccountRecord,
    why: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    audit.record(connection, at, actor.name, action, of.name, why, {"via": actor.via, **(detail or {})}, department="")


def _view(record: AccountRecord) -> Account:
    state = "disabled" if record.disabled_at else "active" if record.last_login_at else "new"
    return Account(
        name=record.name,
        state=state,
        kind="oidc" if record.issuer else "local",
        roles=frozenset(Role(role) for role in record.roles),
        departments=record.departments,
        must_change_password=record.must_change,
        has_password=bool(record.password_hash),
        created_at=record.created_at,
        created_by=record.created_by,
        password_at=record.password_at,
        last_login_at=record.last_login_at,
        disabled_at=record.disabled_at,
        issuer=record.issuer,
    )
