"""Visit: one request, as pages and deeds see it: who asks, in which language, for what; and the console it came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from starlette.datastructures import FormData, QueryParams
from starlette.requests import Request

from forebay_collector.archive import Archive
from forebay_collector.console import cookies
from forebay_collector.console.answers import Done, Message
from forebay_collector.console.fresh import Fresh
from forebay_collector.console.language import Words, preferred, words_of
from forebay_collector.console.recent import Recent
from forebay_collector.errors import CollectorError, NotKnown, NotPossible
from forebay_collector.ledger import Ledger
from forebay_collector.platform.contract import Platform, PlatformError
from forebay_collector.service import fleet, streams
from forebay_collector.service.actor import Actor, Permission, Role
from forebay_collector.service.fleet import AgentView
from forebay_collector.service.provider import Provider
from forebay_collector.service.streams import StreamView
from forebay_collector.settings import Settings
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName

RECENT_S: Final = 1.0
EVERYBODY: Final = Actor("console", frozenset({Role.VIEWER}), None, "console")
"""Whose look at the fleet is kept; what of it a person sees is chosen afterwards."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Console:
    """What all requests share. version: of the program, in the addresses of its files. provider: where people log in besides
    here; None: nowhere."""

    ledger: Ledger
    settings: Settings
    archive: Archive
    open_platform: Callable[[], Platform]
    version: str
    agents: Fresh[list[AgentView]]
    provider: Provider | None
    recent: Recent = field(default_factory=Recent)

    @classmethod
    def over(
        cls,
        ledger: Ledger,
        settings: Settings,
        archive: Archive,
        open_platform: Callable[[], Platform],
        *,
        version: str,
    ) -> Self:
        """Raises ConfigurationError when what is set of the identity provider does not make a client."""
        agents = Fresh(lambda: fleet.agents(ledger, EVERYBODY), RECENT_S)
        oidc = settings.console.oidc
        provider = Provider(oidc, settings.folder) if oidc.issuer else None
        return cls(ledger, settings, archive, open_platform, version, agents, provider)

    def stop(self) -> None:
        self.agents.stop()
        if self.provider is not None:
            self.provider.close()

    def forget(self) -> None:
        """Something was changed: what was read before counts no more."""
        self.agents.forget()
        self.recent.forget()


@dataclass(slots=True)
class Visit:
    """token: the browser's, of its session or from before it. query: as in the address; form: what a form sent."""

    console: Console
    request: Request
    actor: Actor
    token: str
    words: Words
    theme: str
    query: QueryParams
    form: FormData
    must_change_password: bool = False
    messages: Sequence[Message] = ()
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        return self.console.ledger

    @property
    def path(self) -> str:
        """Path and query of this request, to come back to."""
        url = self.request.url
        return f"{url.path}?{url.query}" if url.query else url.path

    @property
    def secure(self) -> bool:
        """Whether the browser came by TLS, to this process or to a proxy on this machine that says so."""
        return self.request.url.scheme == "https"

    @property
    def peer(self) -> str:
        return self.request.client.host if self.request.client else ""

    def may(self, permission: str, department: str = "") -> bool:
        return self.actor.may(Permission(permission), department)

    def named(self, part: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[part])

    def asked(self, name: str, default: str = "") -> str:
        """A value in the address, without outer spaces."""
        return self.query.get(name, default).strip()

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A number in the address, within its bounds; the default when it is none."""
        text = self.asked(name)
        return max(least, min(most, int(text))) if text.isdecimal() and len(text) < 19 else default

    def said(self, name: str) -> str:
        """A value of the form, without outer spaces; empty when it is not there."""
        value = self.form.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    def secret(self, name: str) -> str:
        """A value of the form exactly as it was typed."""
        value = self.form.get(name, "")
        return value if isinstance(value, str) else ""

    def all_said(self, name: str) -> list[str]:
        """Every value that the form has under a name."""
        return [value for value in self.form.getlist(name) if isinstance(value, str)]

    def why(self) -> str:
        """The reason that the form gives. Raises NotPossible when there is none."""
        reason = self.said("why")
        if not reason:
            raise NotPossible("no reason was given: it is kept beside the deed", remedy="Say why.")
        return reason[:1_000]

    def agents(self) -> list[AgentView]:
        """The agents that the person may see, as they were about a second ago. They are read once for everybody."""
        return [view for view in self.console.agents.get() if self.actor.sees(view.department)]

    def streams(self) -> list[StreamView]:
        """The streams, as `agents`."""
        every = self.console.recent.get("streams", RECENT_S, lambda: streams.streams(self.ledger, EVERYBODY))
        return [view for view in every if self.actor.sees(view.name.department)]

    def recent(self, what: str, read: Callable[[], T], *, seconds: float = RECENT_S, more: object = None) -> T:
        """What is read for everybody of the same scope, at most so old."""
        return self.console.recent.get((what, self.actor.departments, more), seconds, read)

    def done(self, to: str, key: str, *, kind: str = "good", **values: object) -> Done:
        """The deed was done: go there with this text."""
        self.console.forget()
        return Done(to, (Message(kind, self.words(key, **values)),))

    def hindered(self, to: str, error: CollectorError | PlatformError) -> Done:
        """The deed was not done: go there with the reason."""
        return Done(to, (Message("bad", self.words("deed.hindered"), self.words.of_error(error)),))

    def back(self, default: str) -> str:
        """Where the form says to go afterwards, if that is a path of this console."""
        return inside(self.said("back"), default)


def stream_named(text: str) -> StreamName:
    """The stream of this name. Raises NotKnown for a text that is no stream's name."""
    try:
        return StreamName.parse(text)
    except WireError:
        raise NotKnown(f"{text[:200]!r} is not a stream's name") from None


def inside(path: str, default: str) -> str:
    """The path when it stays within this console, whatever a browser makes of it; else the default."""
    parts = urlsplit(path)
    within = path.startswith("/") and not path.startswith("//") and not parts.scheme and not parts.netloc
    return path if within and path.isprintable() and "\\" not in path else default


def language_of(request: Request) -> Words:
    return words_of(preferred(cookies.language(request), request.headers.get("accept-language", "")))
