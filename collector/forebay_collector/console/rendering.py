"""Rendering: from a `Page` and a `Visit` to HTML. Everything that a template puts in is escaped; what is missing is an error.

Templates say everything that people read through `t(key)`. A part of a page that is kept up to date stands in
`{% call live('name') %}…{% endcall %}`: it is remembered under its name, so that `live.py` can send what changed of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from forebay_collector.console.answers import Page
from forebay_collector.console.language import LANGUAGES, Words
from forebay_collector.console.protection import FORM_FIELD
from forebay_collector.console.visit import Visit
from forebay_collector.console.waiting import waiting
from forebay_collector.service.sessions import form_token
from forebay_wire.stream import StreamName

_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_LAST_US: Final = 250_000_000_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Regions:
    """The live parts of one rendering, by name."""

    def __init__(self) -> None:
        self.html: dict[str, str] = {}

    def __call__(self, name: str, kind: str = "", *, caller: Callable[[], Markup]) -> Markup:
        inside = caller()
        self.html[name] = str(inside)
        return Markup('<div class="live {}" id="live-{}" data-live="{}">{}</div>').format(kind, name, name, inside)


def render(page: Page, visit: Visit) -> tuple[str, Regions]:
    """The whole page, and its live parts."""
    regions = Regions()
    words = visit.words
    template = environment().get_template(page.template)
    html = template.render(
        page.values,
        t=words,
        visit=visit,
        actor=visit.actor,
        live=regions,
        is_live=page.live,
        form_token=Markup('<input type="hidden" name="{}" value="{}">').format(FORM_FIELD, form_token(visit.token)),
        moment=lambda at_us: moment(at_us, words),
        age=lambda at_us: age(at_us, words),
        languages=LANGUAGES,
        may=visit.may,
        waiting=waiting(visit),
        version=visit.console.version,
        zone=_zone(datetime.now().astimezone()),
        server_now_ms=visit.ledger.database.clock() // 1_000,
    )
    return html, regions


@cache
def environment() -> Environment:
    made = Environment(
        loader=PackageLoader("forebay_collector.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    made.filters |= {
        "size": size,
        "count": count,
        "span": _span,
        "coarse": _coarse,
        "percent": percent,
        "json_text": json_text,
        "stream_path": stream_path,
        "agent_path": agent_path,
        "broken": broken,
        "twice": lambda text: (text, text),
    }
    made.globals |= {"batch_path": batch_path, "query": query}
    return made


def moment(at_us: int | None, words: Words) -> Markup:
    """A moment in the time zone of the collector's machine; a dash for none, and for what is beyond the calendar."""
    if not at_us or at_us > _LAST_US:
        return Markup('<span class="none">–</span>')
    at = _EPOCH + timedelta(microseconds=at_us)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(timespec="milliseconds"), words("time.zone", zone=_zone(at.astimezone())), local(at_us)
    )


def age(at_us: int | None, words: Words) -> Markup:
    """A moment, shown as how long ago it is: the browser counts on by itself."""
    if not at_us or at_us > _LAST_US:
        return Markup('<span class="none">{}</span>').format(words("time.never"))
    at = _EPOCH + timedelta(microseconds=at_us)
    return Markup('<time datetime="{}" title="{}" data-age>{}</time>').format(
        at.isoformat(timespec="milliseconds"), local(at_us), local(at_us)
    )


def local(at_us: int) -> str:
    """`2026-11-23 08:15:02` in the time zone of this machine."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _zone(at: datetime) -> str:
    """`+08:00`"""
    return at.strftime("%z")[:3] + ":" + at.strftime("%z")[3:5]


def size(amount: float) -> str:
    """Bytes as people read them: `12.3 MiB`."""
    for unit in _SIZES:
        if abs(amount) < 1024 or unit == _SIZES[-1]:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("the last unit always returns")


def count(number: float) -> str:
    return f"{number:,.0f}"


def span(words: Words, seconds: float | None) -> str:
    """A duration as people read it: `3.2 s`, `4 min`, `5.1 h`, `2.0 d`; a dash for none."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return words("unit.seconds", number=f"{seconds:.1f}")
    if seconds < 120:
        return words("unit.seconds", number=f"{seconds:.0f}")
    if seconds < 7_200:
        return words("unit.minutes", number=f"{seconds / 60:.0f}")
    if seconds < 172_800:
        return words("unit.hours", number=f"{seconds / 3_600:.1f}")
    return words("unit.days", number=f"{seconds / 86_400:.1f}")


def coarse(words: Words, seconds: float | None) -> str:
    """As `span`, but not changing with every second: whole minutes below two hours."""
    if seconds is None or seconds >= 7_200:
        return span(words, seconds)
    return words("unit.minutes", number=f"{seconds / 60:.0f}")


@pass_context
def _span(context: Context, seconds: float | None) -> str:
    return span(context["t"], seconds)


@pass_context
def _coarse(context: Context, seconds: float | None) -> str:
    return coarse(context["t"], seconds)


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def stream_path(name: StreamName | str) -> str:
    parsed = StreamName.parse(name) if isinstance(name, str) else name
    return "/streams/" + "/".join(quote(part, safe="") for part in (parsed.department, parsed.source, parsed.table))


def agent_path(name: str) -> str:
    return "/agents/" + quote(name, safe="")


def batch_path(stream: StreamName, epoch: int, seq: int) -> str:
    return f"/batch/{epoch}/{seq}" + stream_path(stream).removeprefix("/streams")


def query(given: Iterable[tuple[str, str]], **changes: object) -> str:
    """The query of an address with some values changed; those that are empty go."""
    values = dict(given) | {name: str(value) for name, value in changes.items()}
    return "?" + urlencode({name: value for name, value in values.items() if value})


def broken(text: str, every: int = 8) -> Markup:
    """A long text without spaces, with places where a line may break."""
    parts = [escape(text[place : place + every]) for place in range(0, len(text), every)]
    return Markup("<wbr>").join(parts)
