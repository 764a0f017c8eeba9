"""Operation: one thing that can be asked of the API, as it is served and as it is described."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from forebay_collector.api.values import Answer, Asked
from forebay_collector.archive import Archive
from forebay_collector.console.recent import Recent
from forebay_collector.errors import NotKnown
from forebay_collector.ledger import Ledger
from forebay_collector.platform.contract import Platform
from forebay_collector.service.actor import Actor, Permission
from forebay_collector.service.tokens import Holder
from forebay_collector.settings import Settings
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName

RECENT_S: Final = 1.0
Q = TypeVar("Q")
B = TypeVar("B")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Works:
    """What all operations work with."""

    ledger: Ledger
    settings: Settings
    archive: Archive
    open_platform: Callable[[], Platform]
    recent: Recent = field(default_factory=Recent)
    description: str = ""  # of the API, as it is served


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One request: who asks, and for what. path: the parameters of the address, decoded. base: the server's own address."""

    works: Works
    holder: Holder
    path: Mapping[str, str]
    query: Q
    body: B
    peer: str = ""
    base: str = ""

    @property
    def ledger(self) -> Ledger:
        return self.works.ledger

    @property
    def actor(self) -> Actor:
        return self.holder.actor

    @property
    def stream(self) -> StreamName:
        """The stream that the address names. Raises NotKnown."""
        try:
            return StreamName(self.path["department"], self.path["source"], self.path["table"])
        except WireError:
            raise NotKnown("that is not a stream's name") from None

    def number(self, name: str) -> int:
        """A number of the address. Raises NotKnown for what is none."""
        text = self.path[name]
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise NotKnown(f"there is no {name} {text[:40]!r}")
        return int(text)

    def recent(self, what: str, read: Callable[[], T]) -> T:
        """What was read a moment ago for whoever sees the same departments. Raises NotPermitted."""
        self.actor.require(Permission.SEE)
        return self.works.recent.get((what, self.actor.departments), RECENT_S, read)


def stream_named(text: str) -> StreamName:
    """The stream of this name. Raises NotKnown for a text that is no stream's name."""
    try:
        return StreamName.parse(text)
    except WireError:
        raise NotKnown(f"{text[:200]!r} is not a stream's name") from None


@dataclass(frozen=True, slots=True)
class Operation:
    """do: raises CollectorError, PlatformError; its answer is read into `answers`. files: the media types that it sends
    instead. needs: the permission, None: just a token. location: where what was made is found, of the answer's fields. refusals: statuses besides
    those that every operation may have."""

    method: str
    path: str
    id: str
    summary: str
    do: Callable[[Call[Any, Any]], object]
    needs: Permission | None
    tag: str
    query: type[Asked] | None = None
    body: type[BaseModel] | None = None
    answers: type[Answer] | None = None
    files: Sequence[str] = ()
    status: int = 200
    location: str = ""
    refusals: Sequence[int] = ()
    about: str = ""
    everybody: bool = False  # also without a token


NOBODY: Final = Holder(Actor("", frozenset(), frozenset(), "api"), 0, "", 0)


class Noun:
    """The operations about one noun."""

    def __init__(self, tag: str, about: str) -> None:
        self.tag = tag
        self.about = about
        self.operations: list[Operation] = []

    def get(
        self,
        path: str,
        id: str,  # noqa: A002  OpenAPI's own word
        summary: str,
        do: Callable[[Call[Any, Any]], object],
        answers: type[Answer] | None = None,
        *,
        needs: Permission | None = Permission.SEE,
        **more: Any,
    ) -> None:
        """Something to read."""
        self.operations.append(Operation("GET", path, id, summary, do, needs, self.tag, answers=answers, **more))

    def post(
        self,
        path: str,
        id: str,  # noqa: A002
        summary: str,
        do: Callable[[Call[Any, Any]], object],
        answers: type[Answer] | None = None,
        *,
        needs: Permission | None,
        **more: Any,
    ) -> None:
        """A deed. Without an answer the status is 204."""
        status = {"status": 204} if answers is None and "files" not in more else {}
        more = status | more
        self.operations.append(Operation("POST", path, id, summary, do, needs, self.tag, answers=answers, **more))
