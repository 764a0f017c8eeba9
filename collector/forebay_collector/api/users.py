"""Users: accounts of people, what they may, and how they come in."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SecretStr

from forebay_collector.api.operation import Call, Noun
from forebay_collector.api.paging import Part, by_text
from forebay_collector.api.values import (
    Answer,
    Asked,
    Departments,
    Excused,
    Moment,
    Needed,
    Page,
    Paged,
    Reason,
    Reasoned,
)
from forebay_collector.service import login, sessions
from forebay_collector.service import users as service
from forebay_collector.service.actor import Permission, Role
from forebay_collector.service.users import Account

NOUN = Noun("users", "Accounts of people.")
Secret = Annotated[SecretStr, Field(max_length=1_024)]


class User(Answer):
    """An account."""

    name: str
    state: str = Field(description="active, disabled, or new: it never logged in.")
    kind: str = Field(description="local or oidc")
    roles: list[Role]
    departments: list[str] | None = Field(description="What it sees and acts on; null: all departments.")
    must_change_password: bool
    has_password: bool
    created_at: Moment
    created_by: str
    password_at: Moment
    last_login_at: Moment
    disabled_at: Moment

    @classmethod
    def of(cls, account: Account) -> dict[str, Any]:
        named = {name: getattr(account, name) for name in cls.model_fields}
        departments = account.departments
        return named | {
            "roles": sorted(account.roles),
            "departments": None if departments is None else sorted(departments),
        }


class Users(Page[User]):
    pass


class UsersAsked(Paged):
    pass


class Rights(Asked):
    """What an account may."""

    roles: list[Role] = Field(min_length=1, max_length=len(Role))
    departments: Departments | None = Field(description="null: all departments.")


class UserWanted(Rights):
    name: Needed
    password: Secret | None = Field(
        None,
        description="It must be changed at the first log-in; without one the account takes a link.",
    )


class RightsChange(Rights):
    why: Reason = ""


class NewPassword(Asked):
    password: Secret
    old: Secret | None = Field(None, description="Of one's own account.")


class Link(Answer):
    """Logs in once. It is shown in this answer and never again."""

    link: str


class Ended(Answer):
    sessions: int = Field(description="How many were ended.")


def users(call: Call[UsersAsked, None]) -> Part[dict[str, Any]]:
    part = by_text(service.listing(call.ledger, call.actor), call.query, lambda account: account.name)
    return Part([User.of(account) for account in part.items], part.next)


def user(call: Call[None, None]) -> dict[str, Any]:
    return User.of(service.account(call.ledger, call.actor, call.path["user"]))


def create(call: Call[None, UserWanted]) -> dict[str, Any]:
    body = call.body
    made = service.create(
        call.ledger,
        call.actor,
        body.name,
        body.roles,
        body.departments,
        password=_secret(body.password),
        rules=call.works.settings.accounts,
    )
    return User.of(made)


def set_roles(call: Call[None, RightsChange]) -> dict[str, Any]:
    body, rules = call.body, call.works.settings.accounts
    name = call.path["user"]
    return User.of(
        service.set_roles(call.ledger, call.actor, name, body.roles, body.departments, why=body.why, rules=rules)
    )


def set_password(call: Call[None, NewPassword]) -> None:
    service.set_password(
        call.ledger,
        call.actor,
        call.path["user"],
        _secret(call.body.password),
        old=_secret(call.body.old),
        peer=call.peer,
        rules=call.works.settings.accounts,
    )


def disable(call: Call[None, Reasoned]) -> None:
    service.disable(call.ledger, call.actor, call.path["user"], call.body.why)


def enable(call: Call[None, Reasoned]) -> None:
    service.enable(call.ledger, call.actor, call.path["user"], call.body.why)


def log_out(call: Call[None, Excused]) -> dict[str, int]:
    return {"sessions": sessions.close_sessions(call.ledger, call.actor, call.path["user"], call.body.why)}


def link(call: Call[None, None]) -> dict[str, str]:
    rules = call.works.settings.accounts
    token = login.one_time_login(call.ledger, call.actor, call.path["user"], rules=rules)
    return {"link": f"{call.works.settings.console.oidc.address.rstrip('/') or call.base}/login/link?token={token}"}


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value is not None else ""


_ADMINISTERS: Any = {"needs": Permission.ADMINISTER}
NOUN.get("/users", "users", "The accounts, by name", users, Users, query=UsersAsked, **_ADMINISTERS)
NOUN.get("/users/{user}", "user", "One account", user, User, about="One's own takes no right.", **_ADMINISTERS)
NOUN.post(
    "/users",
    "createUser",
    "Make a local account",
    create,
    User,
    body=UserWanted,
    refusals=[422],
    status=201,
    location="/users/{name}",
    **_ADMINISTERS,
)
NOUN.post(
    "/users/{user}/roles", "setRoles", "Say what it may from now on", set_roles, User, body=RightsChange, **_ADMINISTERS
)
NOUN.post(
    "/users/{user}/password",
    "setPassword",
    "Set a new password",
    set_password,
    body=NewPassword,
    refusals=[422],
    about="One's own takes the old one. Another's must be changed at the next log-in, and its tokens end.",
    **_ADMINISTERS,
)
NOUN.post("/users/{user}/disable", "disableUser", "Let it in no more", disable, body=Reasoned, **_ADMINISTERS)
NOUN.post("/users/{user}/enable", "enableUser", "Let it in again", enable, body=Reasoned, **_ADMINISTERS)
NOUN.post("/users/{user}/log-out", "endSessions", "End its sessions", log_out, Ended, body=Excused, **_ADMINISTERS)
NOUN.post(
    "/users/{user}/link",
    "makeLink",
    "A link that logs in once, for an account that never did",
    link,
    Link,
    status=201,
    **_ADMINISTERS,
)
