"""Commands: asking an agent to do something, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel
from starlette.responses import Response, StreamingResponse

from forebay_collector.api.operation import Call, Noun, stream_named
from forebay_collector.api.paging import Part, cut
from forebay_collector.api.values import Answer, Asked, Moment, Name, Number, Page, Paged, Reason, StreamText, Why
from forebay_collector.errors import NotKnown, NotPossible
from forebay_collector.service import commands
from forebay_collector.service.actor import Permission
from forebay_collector.service.commands import CommandView, Scope

NOUN = Noun("commands", "What agents are asked to do, and what they did.")
MOST_SEQ = (1 << 63) - 1


class Command(Answer):
    """A command, and what became of it."""

    id: str
    agent: str
    department: str
    kind: str
    parameters: dict[str, Any]
    why: str
    asked_by: str
    asked_at: Moment
    sent_at: Moment
    ended_at: Moment
    expires_at: Moment = Field(description="When it is not sent any more.")
    state: str = Field(description="waiting, sent, done, failed or cancelled")
    code: str
    reason: str
    effect: str = Field(description="What it did, in the agent's words.")
    epoch: int
    seq: int
    rows: int
    data_bytes: int = Field(description="Of the file that it brought, about; 0: there is none.")


class Commands(Page[Command]):
    pass


class CommandsAsked(Paged):
    agent: Name = Field("", description="Only of this agent.")
    cursor: str = Field(
        "",
        pattern=r"^([0-9]{1,18}\.[0-9a-f]{1,64})?$",
        description="`next` of the page before; without it the first page.",
    )


class _OfScope(Asked):
    why: Why
    source: Name = Field("", description="Only of this source.")
    stream: StreamText | None = Field(None, description="Only of this stream. With neither: the whole agent.")

    def scope(self) -> Scope:
        """Raises NotPossible, NotKnown."""
        if self.source and self.stream:
            raise NotPossible("a source and a stream are named", remedy="Name one of them, or neither.")
        return Scope(stream=stream_named(self.stream)) if self.stream else Scope(source=self.source)


class Pause(_OfScope):
    """Nothing in scope is captured until it is resumed; what is in the outbox is still sent."""

    kind: Literal["pause"]


class Resume(_OfScope):
    """What is in scope goes on."""

    kind: Literal["resume"]


Key = Annotated[
    list[str | int | float | bool],
    Field(max_length=32, description="One value for each column of the key, included; nothing: from the end on."),
]


class Snapshot(Asked):
    """Reads the table, or the range of its keys, anew."""

    kind: Literal["snapshot"]
    stream: StreamText
    why: Why
    from_key: Key = Field(default_factory=list)
    to_key: Key = Field(default_factory=list)


class Resend(Asked):
    """Sends again, from this seq on, what the outbox still holds."""

    kind: Literal["resend"]
    stream: StreamText
    why: Why
    epoch: Number = Field(ge=1, le=(1 << 31) - 1)
    from_seq: Number = Field(ge=1, le=MOST_SEQ)


class Drain(Asked):
    """Captures what is committed now, and sends all of it."""

    kind: Literal["drain"]
    why: Reason = ""
    stream: StreamText | None = None
    timeout_s: Number = Field(300, ge=1, le=86_400)


class _Plain(Asked):
    why: Why


class Reload(_Plain):
    """Reads its configuration files now."""

    kind: Literal["reload"]


class Rotate(_Plain):
    """Renews its certificate now, with a new key."""

    kind: Literal["rotate"]


class Diagnostics(_Plain):
    """Collects a redacted archive: see `/commands/{command}/file`."""

    kind: Literal["diagnostics"]


class Report(_Plain):
    """Tells all of its streams, and its proposals again."""

    kind: Literal["report"]


class CommandWanted(
    RootModel[
        Annotated[
            Pause | Resume | Snapshot | Resend | Drain | Reload | Rotate | Diagnostics | Report,
            Field(discriminator="kind"),
        ]
    ]
):
    """What the agent shall do."""


def listing(call: Call[CommandsAsked, None]) -> Part[CommandView]:
    asked = call.query
    at, _, number = asked.cursor.partition(".")
    before = (int(at), number) if asked.cursor else None
    found = commands.listing(call.ledger, call.actor, asked.agent, asked.limit + 1, before)
    return cut(found, asked, lambda view: f"{view.asked_at}.{view.id}")


def one(call: Call[None, None]) -> CommandView:
    return commands.outcome(call.ledger, call.actor, call.path["command"])


def file(call: Call[None, None]) -> Response:
    asked = commands.outcome(call.ledger, call.actor, call.path["command"])
    if not asked.data_bytes:
        raise NotKnown("the command brought no file, or it is not kept any more", remedy="Ask for it again.")
    parts = commands.data(call.ledger, call.actor, asked.id)
    return StreamingResponse(parts, media_type="application/zstd")


def send(call: Call[None, CommandWanted]) -> CommandView:
    number = _send(call, call.path["agent"])
    return commands.outcome(call.ledger, call.actor, number)


def _send(call: Call[None, CommandWanted], agent: str) -> str:
    ledger, actor = call.ledger, call.actor
    match call.body.root:
        case Pause() as asked:
            return commands.pause(ledger, actor, agent, asked.scope(), asked.why)
        case Resume() as asked:
            return commands.resume(ledger, actor, agent, asked.scope(), asked.why)
        case Snapshot(stream=stream, why=why, from_key=from_key, to_key=to_key):
            return commands.snapshot(ledger, actor, stream_named(stream), why, from_key, to_key, agent=agent)
        case Resend(stream=stream, why=why, epoch=epoch, from_seq=seq):
            return commands.resend(ledger, actor, stream_named(stream), epoch, seq, why, agent=agent)
        case Drain(why=why, stream=stream, timeout_s=timeout_s):
            of = stream_named(stream) if stream else None
            return commands.drain(ledger, actor, agent, why, of, timeout_s)
        case Reload(why=why):
            return commands.reload(ledger, actor, agent, why)
        case Rotate(why=why):
            return commands.rotate(ledger, actor, agent, why)
        case Diagnostics(why=why):
            return commands.diagnostics(ledger, actor, agent, why)
        case Report(why=why):
            return commands.report(ledger, actor, agent, why)


NOUN.get("/commands", "commands", "The commands, newest first", listing, Commands, query=CommandsAsked)
NOUN.get("/commands/{command}", "command", "How one command stands", one, Command)
NOUN.get(
    "/commands/{command}/file",
    "commandFile",
    "The file that a command brought",
    file,
    files=["application/zstd"],
    about="Of `diagnostics`: a redacted tar archive under zstandard. It is kept for a while only.",
)
NOUN.post(
    "/agents/{agent}/commands",
    "sendCommand",
    "Ask an agent to do something",
    send,
    Command,
    needs=Permission.OPERATE,
    body=CommandWanted,
    status=202,
    location="/commands/{id}",
    about="The agent gets it within a second when it is connected; ask for the command again to see what it did.",
)
