"""About the API itself: its description, the kinds of problems, and who one is with a token."""

from __future__ import annotations

from pydantic import Field
from starlette.responses import Response

from forebay_collector.api import problems
from forebay_collector.api.operation import Call, Noun
from forebay_collector.api.values import Answer, Moment, to_moment
from forebay_collector.errors import NotKnown

NOUN = Noun("about", "The API itself.")


class Me(Answer):
    """Who the program is that asks, and what it may."""

    account: str
    roles: list[str]
    departments: list[str] | None = Field(description="What it sees and acts on; null: all departments.")
    token: int
    label: str
    expires_at: Moment


def description(call: Call[None, None]) -> Response:
    return Response(call.works.description, media_type="application/json")


def kinds(call: Call[None, None]) -> problems.Kinds:
    return problems.Kinds(items=problems.kinds())


def kind(call: Call[None, None]) -> problems.Kind:
    found = next((kind for kind in problems.kinds() if kind.code == call.path["code"]), None)
    if found is None:
        raise NotKnown("that is no kind of the collector's own", remedy=f"List them: {problems.ROOT}/problems.")
    return found


def me(call: Call[None, None]) -> Me:
    actor, holder = call.actor, call.holder
    return Me(
        account=actor.name,
        roles=sorted(actor.roles),
        departments=None if actor.departments is None else sorted(actor.departments),
        token=holder.token,
        label=holder.label,
        expires_at=to_moment(holder.expires_at),
    )


NOUN.get(
    "/openapi.json",
    "description",
    "This description",
    description,
    files=["application/json"],
    needs=None,
    everybody=True,
    about="The same for everybody, and read without a token: it tells nothing of what the collector holds.",
)
NOUN.get("/problems", "problems", "The kinds of problems", kinds, problems.Kinds, needs=None, everybody=True)
NOUN.get("/problems/{code}", "problem", "One kind of problem", kind, problems.Kind, needs=None, everybody=True)
NOUN.get("/me", "me", "Who one is, and what one may", me, Me, needs=None)
