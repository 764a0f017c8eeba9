"""Logging in at an identity provider: who comes back is an account here, with the roles that their groups give.

    begin    a random secret goes into the browser's cookie, a random state into the address; nonce and PKCE's verifier are
             derived from both, so that the ledger keeps nothing but two hashes
    finish   the same browser, the same state, once and soon; then the provider's claims become an account

An account is the provider's subject, not its name: whoever takes over a name takes over no account. Roles and departments
follow the groups with every log-in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Connection

from forebay_collector.errors import CollectorError, LoginRefused, NotPossible, OidcRefused
from forebay_collector.ledger import Ledger, accounts, audit, oidc_requests
from forebay_collector.ledger.accounts import AccountRecord
from forebay_collector.service.actor import Actor, Role
from forebay_collector.service.login import actor_of, note_login, secret_hash
from forebay_collector.service.provider import Claims, Provider
from forebay_collector.service.scope import DEFAULT_RULES, account_name, checked_departments, checked_roles
from forebay_collector.settings import AccountSettings

WITHIN_US: Final = 10 * 60 * 1_000_000
EVERYTHING: Final = "*"
_PROVIDER: Final = "identity provider"


@dataclass(frozen=True, slots=True)
class SignIn:
    """url: where the browser goes. browser: what it keeps in a cookie until it comes back, and nobody else has."""

    url: str = field(repr=False)
    browser: str = field(repr=False)


def begin(ledger: Ledger, provider: Provider) -> SignIn:
    """Sends a browser to the provider. Raises OidcUnreachable, OidcRefused."""
    browser, state = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    url = provider.authorization_url(state, _derived(browser, state, "nonce"), _derived(browser, state, "verifier"))
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        oidc_requests.add(connection, secret_hash(state), secret_hash(browser), at, at + WITHIN_US)
    return SignIn(url, browser)


def finish(
    ledger: Ledger,
    provider: Provider,
    *,
    browser: str,
    state: str,
    code: str,
    peer: str,
    rules: AccountSettings = DEFAULT_RULES,
    via: str = "console",
) -> Actor:
    """Who has come back from the provider, by the cookie and the address that it was sent back with.

    Raises OidcRefused, OidcUnreachable, LoginRefused (the account is disabled here).
    """
    at = ledger.database.clock()
    try:
        with ledger.database.write() as connection:
            known = oidc_requests.take(connection, secret_hash(state), secret_hash(browser), at)
        if not known:
            raise OidcRefused("this browser did not begin this log-in, or it took too long")
        if not code:
            raise OidcRefused("the provider let nobody in")
        claims = provider.claims(code, _derived(browser, state, "nonce"), _derived(browser, state, "verifier"))
        with ledger.database.write() as connection:
            record = _account(connection, provider, claims, ledger.database.clock(), rules)
            note_login(connection, record, ledger.database.clock(), method="oidc", peer=peer, via=via)
    except CollectorError as error:
        detail = {"method": "oidc", "peer": peer, "via": via, "code": error.code}
        with ledger.database.write() as connection:
            who = "(unknown)"
            audit.record(
                connection, ledger.database.clock(), who, "log-in refused", who, str(error), detail, department=""
            )
        raise
    return actor_of(record, via)


def _account(
    connection: Connection, provider: Provider, claims: Claims, at: int, rules: AccountSettings
) -> AccountRecord:
    """The account of the provider's subject, made or brought up to date."""
    issuer, subject = provider.settings.issuer, str(claims["sub"])
    found = accounts.find_subject(connection, issuer, subject)
    if found is not None and found.disabled_at:
        raise LoginRefused(f"account {found.name} is disabled")
    roles, departments = _rights(provider, claims, rules)
    rights: dict[str, Any] = {"roles": sorted(roles)}
    rights["departments"] = None if departments is None else sorted(departments)
    if found is None:
        name = _name(connection, provider, claims)
        record = AccountRecord(
            name=name,
            issuer=issuer,
            subject=subject,
            password_hash="",
            must_change=False,
            roles=frozenset(roles),
            departments=departments,
            created_at=at,
            created_by=_PROVIDER,
            password_at=0,
            last_login_at=0,
            disabled_at=0,
        )
        accounts.add(connection, record)
        audit.record(connection, at, _PROVIDER, "account", name, detail=rights | {"issuer": issuer}, department="")
        return record
    if found.roles != roles or found.departments != departments:
        accounts.change(connection, found.name, roles=frozenset(roles), departments=departments)
        had = found.departments
        before = {"roles": sorted(found.roles), "departments": None if had is None else sorted(had)}
        audit.record(connection, at, _PROVIDER, "roles", found.name, detail=rights | {"before": before}, department="")
    return replace(found, roles=frozenset(roles), departments=departments)


def _name(connection: Connection, provider: Provider, claims: Claims) -> str:
    said = claims.get(provider.settings.name)
    try:
        name = account_name(said if isinstance(said, str) else "")
    except NotPossible:
        raise OidcRefused(f"the provider's claim `{provider.settings.name}` holds no name for an account") from None
    if accounts.find(connection, name) is not None:
        raise OidcRefused(
            f"there is another account {name}",
            remedy="Give the person another name at the provider, or ask an administrator.",
        )
    return name


def _rights(
    provider: Provider, claims: Claims, rules: AccountSettings
) -> tuple[frozenset[Role], frozenset[str] | None]:
    said = claims.get(provider.settings.groups)
    groups = {one for one in (said if isinstance(said, list) else [said]) if isinstance(one, str)}
    roles = _given(provider.settings.roles, groups)
    if not roles:
        raise OidcRefused("none of the person's groups has a role here", remedy="Compare `roles` in `[console.oidc]`.")
    departments: set[str] | None = _given(provider.settings.departments, groups)
    if not provider.settings.departments or EVERYTHING in (departments or ()):
        departments = None
    try:
        return checked_roles(roles, rules), checked_departments(departments)
    except NotPossible as error:
        raise OidcRefused(str(error), remedy="Change the person's groups at the provider.") from None


def _given(pairs: Iterable[tuple[str, str]], groups: set[str]) -> set[str]:
    return {given for group, given in pairs if group in groups}


def _derived(browser: str, state: str, what: str) -> str:
    """43 characters that only who has the browser's cookie can compute."""
    made = hmac.new(
        browser.encode("utf-8", "surrogatepass"), f"{what} {state}".encode("utf-8", "surrogatepass"), hashlib.sha256
    )
    return base64.urlsafe_b64encode(made.digest()).rstrip(b"=").decode("ascii")
