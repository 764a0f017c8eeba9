"""API tokens: what programs come in with."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from forebay_collector.api.operation import Call, Noun
from forebay_collector.api.paging import Part, by_number
from forebay_collector.api.values import (
    Answer,
    Asked,
    Departments,
    Excused,
    Moment,
    Name,
    Needed,
    Numbered,
    Page,
    integer,
)
from forebay_collector.errors import NotPermitted
from forebay_collector.ledger.api_tokens import ApiTokenRecord
from forebay_collector.service import tokens as service
from forebay_collector.service.actor import Role

NOUN = Noun("tokens", "API tokens, with which programs come in for an account.")
_US: Final = timedelta(microseconds=1)


class Token(Answer):
    """A token, without itself. It may at most what its account may."""

    id: int
    account: str
    label: str
    roles: list[str]
    departments: list[str] | None = Field(description="null: all departments.")
    created_at: Moment
    created_by: str
    expires_at: Moment
    last_used_at: Moment
    revoked_at: Moment

    @classmethod
    def of(cls, record: ApiTokenRecord) -> dict[str, Any]:
        named = {name: getattr(record, name) for name in cls.model_fields}
        departments = record.departments
        return named | {
            "roles": sorted(record.roles),
            "departments": None if departments is None else sorted(departments),
        }


class Tokens(Page[Token]):
    pass


class TokensAsked(Numbered):
    account: Name = Field("", description="Only of this account; one's own without being administrator.")


class TokenWanted(Asked):
    """A token of one's own account."""

    label: Needed = Field(description="What it is for.")
    roles: list[Role] = Field(min_length=1, max_length=len(Role), description="Of those that the asking token has.")
    departments: Departments | None = Field(None, description="null: all that the asking token has.")
    life_s: Annotated[int, Field(ge=1, le=service.LONGEST // timedelta(seconds=1)), BeforeValidator(integer)] | None = (
        Field(None, description="Without it as long as the asking token lives; never longer.")
    )


class NewToken(Answer):
    """text: the token itself. It is shown in this answer and never again."""

    id: int
    text: str
    expires_at: Moment


def listing(call: Call[TokensAsked, None]) -> Part[dict[str, Any]]:
    part = by_number(service.listing(call.ledger, call.actor, call.query.account), call.query, lambda one: one.id)
    return Part([Token.of(record) for record in part.items], part.next)


def make(call: Call[None, TokenWanted]) -> service.NewToken:
    """What is made with a token ends with it at the latest: whoever stole one cannot keep the door open with it."""
    body = call.body
    left = (call.holder.expires_at - call.ledger.database.clock()) * _US
    life = left if body.life_s is None else timedelta(seconds=body.life_s)
    if life > left:
        raise NotPermitted(
            "a token makes none that outlives it",
            remedy="Choose a shorter life, or make it with `forebay-collector users token` or on the console.",
        )
    return service.make_token(
        call.ledger,
        call.actor,
        body.label,
        roles=body.roles,
        departments=body.departments,
        life=life,
        latest=call.holder.expires_at,
    )


def revoke(call: Call[None, Excused]) -> None:
    service.revoke_token(call.ledger, call.actor, call.number("token"), call.body.why)


NOUN.get("/tokens", "tokens", "The API tokens, newest first", listing, Tokens, query=TokensAsked, needs=None)
NOUN.post(
    "/tokens",
    "makeToken",
    "Make an API token of one's own account",
    make,
    NewToken,
    needs=None,
    body=TokenWanted,
    status=201,
)
NOUN.post(
    "/tokens/{token}/revoke",
    "revokeToken",
    "End an API token",
    revoke,
    needs=None,
    body=Excused,
    about="One's own; an administrator anybody's.",
)
