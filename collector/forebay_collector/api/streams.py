"""Streams: all of them, one, how late it was over time, its schemas, some of its rows."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from forebay_collector.api.agents import HOUR_US
from forebay_collector.api.operation import Call, Noun
from forebay_collector.api.paging import Part, by_text
from forebay_collector.api.values import (
    Answer,
    Asked,
    AskedMoment,
    At,
    Count,
    Flag,
    Moment,
    Name,
    Page,
    Paged,
    Stream,
    to_us,
)
from forebay_collector.errors import NotPossible
from forebay_collector.service import streams as service
from forebay_collector.service.fleet import Colour
from forebay_collector.service.streams import Interval, SchemaVersion, StreamView

NOUN = Noun("streams", "One table of one source of one agent each.")
PATH: Final = "/streams/{department}/{source}/{table}"
_LONGEST_US: Final = 366 * 24 * HOUR_US


class StreamState(Answer):
    """How a stream stands. Marks: everything up to there is durable, or settled in the platform."""

    stream: Stream = Field(validation_alias="name")
    agent: str
    colour: Colour
    state: str
    code: str
    reason: str
    remedy: str
    held: bool = Field(description="Here, or at the agent.")
    held_at: Moment
    mode: str
    guarantee: str
    position: str
    durable: At
    loaded: At
    batches_behind: int = Field(validation_alias="behind", description="Batches that are durable and not loaded.")
    rows_behind: int
    lag_s: float = Field(description="Age of the oldest change that is received and not loaded.")
    quiet_s: float | None = Field(description="Since the newest change that was received; null: none was.")


class Streams(Page[StreamState]):
    pass


class StreamsAsked(Paged):
    department: Name = Field("", description="Only of this department.")
    agent: Name = Field("", description="Only of this agent.")
    held: Flag | None = Field(None, description="Only those that are held, or only those that are not.")
    q: Name = Field("", description="Only those with this text in the name of stream or agent.")


class Stretch(Answer):
    """What was received in a stretch of time."""

    at: Moment = Field(description="Where it begins.")
    rows: int
    batches: int
    lag_s: float = Field(description="The longest, from change to loaded.")


class Lag(Answer):
    """Stretches of equal length, in order of time, empty ones included."""

    items: list[Stretch]


class LagAsked(Asked):
    since: AskedMoment | None = Field(None, description="From then on; without it for the last six hours.")
    intervals: Count = Field(60, ge=1, le=1_000, description="Into how many stretches at most.")


class Column(Answer):
    """A column of a schema. origin: its type at the source; type: in Arrow; mask: its kind, empty when not masked."""

    name: str
    origin: str
    type: str
    mask: str
    carried: str
    key: bool


class Schema(Answer):
    """A schema that batches of the stream came with, and how its columns differ from the one before."""

    fingerprint: str
    received_at: Moment
    columns: list[Column]
    added: list[str]
    removed: list[str]
    changed: list[str]


class Schemas(Answer):
    """Newest first."""

    items: list[Schema]


class Rows(Answer):
    """A few rows of the platform's mirror, masked as they came; values as texts, null is NULL."""

    columns: list[str]
    rows: list[list[str | None]]


def streams(call: Call[StreamsAsked, None]) -> Part[StreamView]:
    asked = call.query
    wanted = asked.q.casefold()
    found = call.recent("streams", lambda: service.streams(call.ledger, call.actor))
    chosen = (
        view
        for view in found
        if (not asked.department or view.name.department == asked.department)
        and (not asked.agent or view.agent == asked.agent)
        and (asked.held is None or view.held is asked.held)
        and (not wanted or wanted in f"{view.name} {view.agent}".casefold())
    )
    return by_text(chosen, asked, lambda view: str(view.name))


def stream(call: Call[None, None]) -> StreamView:
    return service.stream(call.ledger, call.actor, call.stream)


def lag(call: Call[LagAsked, None]) -> dict[str, list[Interval]]:
    asked, now = call.query, call.ledger.database.clock()
    since = to_us(asked.since) if asked.since else now - 6 * HOUR_US
    name = call.stream
    if not now - _LONGEST_US <= since <= now:
        service.need(call.ledger, call.actor, name)
        raise NotPossible("that is no moment of the last year", remedy="Ask for a later one, not after now.")
    return {"items": service.history(call.ledger, call.actor, name, since_us=since, intervals=asked.intervals)}


def schemas(call: Call[None, None]) -> dict[str, list[SchemaVersion]]:
    return {"items": service.schemas(call.ledger, call.actor, call.stream)}


def sample(call: Call[None, None]) -> service.Sample:
    return service.sample(call.ledger, call.works.open_platform, call.actor, call.stream)


NOUN.get("/streams", "streams", "The streams, by name", streams, Streams, query=StreamsAsked)
NOUN.get(PATH, "stream", "How one stream stands", stream, StreamState)
NOUN.get(f"{PATH}/lag", "streamLag", "Rows and lag over time", lag, Lag, query=LagAsked)
NOUN.get(f"{PATH}/schemas", "streamSchemas", "Its schemas over time", schemas, Schemas)
NOUN.get(
    f"{PATH}/sample", "streamSample", "Some of its rows", sample, Rows, about="Who looked at rows is kept in the audit."
)
