"""What a page and a deed answer. A page is shown; a deed is done, and the browser is sent on with a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forebay_collector.console.language import Trouble


@dataclass(frozen=True, slots=True)
class Page:
    """A template and its values. live: kept up to date while it is open."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    live: bool = True


@dataclass(frozen=True, slots=True)
class Message:
    """What became of a deed. kind: good, bad, note. text is in the person's language already; trouble: what hindered it."""

    kind: str
    text: str
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A deed was done, or hindered: the browser goes to `to`, a path of this console, and shows the messages."""

    to: str
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Redirect:
    """Instead of a page: look there."""

    to: str
