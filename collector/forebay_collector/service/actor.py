"""Who asks, and what they may.

Administration, security and audit can be separated: an administrator manages accounts and identities but neither replays
nor reads the audit; an auditor reads the audit and changes nothing; an approver decides what may leave, an operator runs it.

    permission   viewer  operator  approver  auditor  administrator
    SEE          x       x         x         x        x
    OPERATE              x                                            replay, discard, commands, offers, verify
    APPROVE                        x                                  what may leave
    AUDIT                                    x                        read, export and verify the audit
    ADMINISTER                                        x               accounts, tokens, revocation

A scope of departments narrows all of them: what belongs to another department does not exist for the actor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from forebay_collector.errors import NotPermitted


class Role(StrEnum):
    """What an account is for. An account may have several."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


class Permission(StrEnum):
    """What a deed needs."""

    SEE = "see"
    OPERATE = "operate"
    APPROVE = "approve"
    AUDIT = "audit"
    ADMINISTER = "administer"


_GRANTS: Final = {
    Role.VIEWER: frozenset({Permission.SEE}),
    Role.OPERATOR: frozenset({Permission.SEE, Permission.OPERATE}),
    Role.APPROVER: frozenset({Permission.SEE, Permission.APPROVE}),
    Role.AUDITOR: frozenset({Permission.SEE, Permission.AUDIT}),
    Role.ADMINISTRATOR: frozenset({Permission.SEE, Permission.ADMINISTER}),
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Someone who asks. departments: those that the actor may see and act on, None: all. via: cli, console, api."""

    name: str
    roles: frozenset[Role]
    departments: frozenset[str] | None = None
    via: str = "cli"

    @classmethod
    def local(cls, name: str) -> Self:
        """Whoever may read the data folder may do everything; the audit names the user of the system."""
        return cls(name, frozenset(Role))

    def may(self, permission: Permission, department: str = "") -> bool:
        """department: whose thing it is; empty: nobody's in particular, such as the list of accounts."""
        inside = self.departments is None or (not department or department in self.departments)
        return inside and any(permission in _GRANTS[role] for role in self.roles)

    def sees(self, department: str) -> bool:
        return self.may(Permission.SEE, department)

    def require(self, permission: Permission, department: str = "") -> None:
        """Raises NotPermitted."""
        if not self.may(permission, department):
            place = f" for {department}" if department else ""
            raise NotPermitted(f"{self.name} may not {permission}{place}")
