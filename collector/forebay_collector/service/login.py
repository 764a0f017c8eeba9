"""Logging in: by password, and by one-time link. Who it is afterwards is an `Actor`.

An unknown name, a wrong password, a disabled account and one without a password get the same answer after the same work.
Failures are counted per account, known or not, and per peer address; from a limit on the next attempt waits, twice as
long each time. Every refusal is audited, but not the attempts that come while it waits: they cost nothing.

A name that belongs to nobody is not written down: people type passwords there.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from forebay_collector.errors import LoginLocked, LoginRefused, NotPermitted, NotPossible
from forebay_collector.ledger import Ledger, accounts, attempts, audit, sessions
from forebay_collector.ledger.accounts import AccountRecord
from forebay_collector.service import passwords
from forebay_collector.service.actor import Actor, Permission, Role
from forebay_collector.service.scope import DEFAULT_RULES, account_name, known_name, visible
from forebay_collector.settings import AccountSettings

LINK_PREFIX: Final = "fbl1_"
_FORGET_US: Final = 24 * 3_600_000_000
UNKNOWN: Final = "(unknown)"


def authenticate(
    ledger: Ledger,
    name: str,
    password: str,
    peer: str,
    *,
    rules: AccountSettings = DEFAULT_RULES,
    via: str = "console",
) -> Actor:
    """Who logs in with name and password, from the address `peer`. Raises LoginRefused, LoginLocked."""
    found = prove(ledger, name, password, peer, rules=rules, via=via)
    renewed = passwords.hashed(password) if passwords.outdated(found.password_hash) else found.password_hash
    with ledger.database.write() as connection:
        current = accounts.find(connection, found.name)
        if current is None or current.disabled_at or current.password_hash != found.password_hash:
            raise LoginRefused  # it was changed at the same moment
        accounts.change(connection, found.name, password_hash=renewed)
        note_login(connection, found, ledger.database.clock(), method="password", peer=peer, via=via)
    return actor_of(current, via)


def prove(ledger: Ledger, name: str, password: str, peer: str, *, rules: AccountSettings, via: str) -> AccountRecord:
    """The account whose name and password these are. Raises LoginRefused, LoginLocked."""
    account = _typed(name)
    gate = _Gate(account, peer, rules)
    gate.require_open(ledger)
    with ledger.database.write() as connection:
        locked = gate.count(connection, ledger.database.clock())
    found = ledger.accounts.get(account)
    fits = passwords.matches(found.password_hash if found else "", password)
    with ledger.database.write() as connection:
        if found is not None and fits and not found.disabled_at:
            gate.forgive(connection)
            return found
        at = ledger.database.clock()
        who = UNKNOWN if found is None else found.name
        detail = {"method": "password", "peer": peer, "via": via}
        audit.record(connection, at, who, "log-in refused", who, detail=detail, department="")
        if locked:
            audit.record(connection, at, who, "log-in locked", who, detail=detail | locked, department="")
    raise LoginRefused


def one_time_login(
    ledger: Ledger,
    actor: Actor,
    name: str,
    *,
    life: timedelta | None = None,
    rules: AccountSettings = DEFAULT_RULES,
) -> str:
    """A token that logs in as this account, once; it stands in a link for its owner.

    Only the command line makes one for an account that was used before: whoever administers accounts must not become
    somebody else unseen.

    Raises NotPermitted, NotKnown, NotPossible.
    """
    actor.require(Permission.ADMINISTER)
    text = LINK_PREFIX + secrets.token_urlsafe(32)
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        found = visible(actor, accounts.find(connection, known_name(name)), name)
        if found.disabled_at:
            raise NotPossible(f"account {found.name} is disabled", remedy="Enable it first.")
        if found.last_login_at and actor.via != "cli":
            raise NotPermitted(f"{found.name} has logged in before: only the command line makes a link for it")
        expires_at = at + (life or rules.link) // timedelta(microseconds=1)
        sessions.add_link(connection, secret_hash(text), found.name, at, actor.name, expires_at)
        detail = {"via": actor.via, "expires_at": expires_at}
        audit.record(connection, at, actor.name, "one-time link", found.name, detail=detail, department="")
    return text


def log_in_by_link(
    ledger: Ledger, token: str, peer: str, *, rules: AccountSettings = DEFAULT_RULES, via: str = "console"
) -> Actor:
    """Who logs in with a one-time link, which is spent. Raises LoginRefused, LoginLocked."""
    gate = _Gate("", peer, rules)
    gate.require_open(ledger)
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        gate.count(connection, at)
        name = sessions.use_link(connection, secret_hash(token), at)
        found = accounts.find(connection, name) if name else None
        if found is not None and not found.disabled_at:
            gate.forgive(connection)
            unlock(connection, found.name)
            note_login(connection, found, at, method="link", peer=peer, via=via)
            return actor_of(found, via)
        who = UNKNOWN if found is None else found.name
        detail = {"method": "link", "peer": peer, "via": via}
        audit.record(connection, at, who, "log-in refused", who, detail=detail, department="")
    raise LoginRefused("the link is not known, was used, or has expired", remedy="Ask for a new link.")


def actor_of(account: AccountRecord, via: str) -> Actor:
    """What the account may now. Whoever must change the password first may do just that: there are no roles until then."""
    roles = frozenset() if account.must_change else frozenset(Role(role) for role in account.roles)
    return Actor(account.name, roles, account.departments, via)


def note_login(connection: Connection, account: AccountRecord, at: int, *, method: str, peer: str, via: str) -> None:
    accounts.change(connection, account.name, last_login_at=at)
    detail = {"method": method, "peer": peer, "via": via}
    audit.record(connection, at, account.name, "log-in", account.name, detail=detail, department="")


def unlock(connection: Connection, name: str) -> None:
    """Nothing is held against the account any more."""
    attempts.forget(connection, _account_subject(name))


def secret_hash(text: str) -> bytes:
    """What is kept of a session's, a link's or an API token's secret, which has 256 random bits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def peer_subject(peer: str) -> str:
    """Who an address counts as: an IPv6 network of 64 bits is one customer's."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return "peer " + hashlib.sha256(peer.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return f"peer {ipaddress.ip_network((address.packed[:8] + bytes(8), 64))}"
        address = address.ipv4_mapped
    return f"peer {address}"


def _account_subject(name: str) -> str:
    return "account " + hashlib.sha256(name.encode()).hexdigest()[:32]


class _Gate:
    """The account and the peer of one attempt."""

    def __init__(self, account: str, peer: str, rules: AccountSettings) -> None:
        def limit(failures: int) -> attempts.Limit:
            tick = timedelta(microseconds=1)
            return attempts.Limit(failures, rules.wait // tick, rules.longest_wait // tick, _FORGET_US)

        self._peer = peer_subject(peer)
        self._limits = {self._peer: limit(rules.attempts_of_peer)}
        if account:
            self._limits[_account_subject(account)] = limit(rules.attempts)
        self._account = account

    def require_open(self, ledger: Ledger) -> None:
        """Raises LoginLocked. It only reads: whoever keeps on trying holds nobody up who writes the ledger."""
        with ledger.database.read() as connection:
            self._check(connection, ledger.database.clock())

    def count(self, connection: Connection, at: int) -> dict[str, int]:
        """Counts the attempt as failed until it is forgiven; -> {"wait_s": seconds} when that locks. Raises LoginLocked."""
        self._check(connection, at)
        locked = max(attempts.count(connection, subject, limit, at) for subject, limit in self._limits.items())
        return {"wait_s": locked // 1_000_000} if locked else {}

    def _check(self, connection: Connection, at: int) -> None:
        wait = max(attempts.waits(connection, subject, at) for subject in self._limits)
        if wait:
            raise LoginLocked(f"wait {-(-wait // 1_000_000)} s", wait_s=wait / 1e6)

    def forgive(self, connection: Connection) -> None:
        attempts.forgive(connection, self._peer)
        if self._account:
            unlock(connection, self._account)


def _typed(name: str) -> str:
    """The account's name that was meant; what cannot be one stands for itself, as a name that nobody has."""
    try:
        return account_name(name)
    except NotPossible:
        return "?" + secret_hash(name).hex()
