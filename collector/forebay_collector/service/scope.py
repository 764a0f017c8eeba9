"""Scope: names, roles and departments of accounts, checked; and what one account may see of another."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from forebay_collector.errors import NotKnown, NotPermitted, NotPossible
from forebay_collector.identity.names import LONGEST
from forebay_collector.ledger.accounts import AccountRecord
from forebay_collector.service.actor import Actor, Role
from forebay_collector.settings import AccountSettings

DEFAULT_RULES: Final = AccountSettings()
_NAME: Final = re.compile(r"[\w](?:[\w.@+-]{0,62}[\w])?")
_LIST: Final = "List them with `forebay-collector users`."
_BOTH: Final = frozenset({Role.ADMINISTRATOR, Role.AUDITOR})


def account_name(text: str) -> str:
    """An account's name as the ledger has it: composed, lower-case. Raises NotPossible."""
    name = unicodedata.normalize("NFKC", text.strip()).casefold()
    if not _NAME.fullmatch(name):
        raise NotPossible(
            "that cannot be an account's name",
            remedy="Use letters, digits and . _ @ + - inside, at most 64 characters.",
        )
    return name


def known_name(text: str) -> str:
    """As `account_name`, of an account that is looked for. Raises NotKnown."""
    try:
        return account_name(text)
    except NotPossible:
        raise NotKnown("there is no account of that name", remedy=_LIST) from None


def checked_roles(roles: Iterable[Role | str], rules: AccountSettings) -> frozenset[Role]:
    """Raises NotPossible when one is not known, there is none, or they must not be together."""
    try:
        wanted = frozenset(Role(role) for role in roles)
    except ValueError:
        raise NotPossible("no such role", remedy=f"There are {', '.join(Role)}.") from None
    if not wanted:
        raise NotPossible("an account has at least one role", remedy=f"There are {', '.join(Role)}.")
    if wanted >= _BOTH and not rules.administrators_may_audit:
        raise NotPossible(
            "one account is not both administrator and auditor",
            remedy="Give the roles to two people, or set `administrators_may_audit` in `[accounts]`.",
        )
    return wanted


def checked_departments(departments: Iterable[str] | None) -> frozenset[str] | None:
    """Raises NotPossible when there is none: nobody needs an account that sees nothing."""
    if departments is None:
        return None
    wanted = frozenset(name.strip() for name in departments)
    if not wanted:
        raise NotPossible("no department is named", remedy="Name at least one, or give all of them.")
    for name in wanted:
        if not name or len(name) > LONGEST or "/" in name or not name.isprintable():
            raise NotPossible(
                f"{name!r} is no department's name", remedy="See `forebay-collector agents` for the names."
            )
    return wanted


def within(actor: Actor, departments: frozenset[str] | None) -> bool:
    """Whether the actor's scope holds all of these."""
    return actor.departments is None or (departments is not None and departments <= actor.departments)


def require_within(actor: Actor, departments: frozenset[str] | None) -> None:
    """Raises NotPermitted when the actor would give away more than it has."""
    if not within(actor, departments):
        raise NotPermitted(f"{actor.name} may not give away other departments than its own")


def visible(actor: Actor, account: AccountRecord | None, name: str) -> AccountRecord:
    """The account, where the actor may know of it. Raises NotKnown."""
    if account is None or not (within(actor, account.departments) or account.name == actor.name):
        raise NotKnown(f"there is no account {name}", remedy=_LIST)
    return account
