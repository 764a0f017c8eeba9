"""One agent: how it stands and stood, its sources and streams, its configuration, and the commands that it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from markupsafe import Markup
from starlette.responses import Response, StreamingResponse

from forebay_collector.console.answers import Done, Page
from forebay_collector.console.charts import Line, lines
from forebay_collector.console.rendering import agent_path, local, size, span
from forebay_collector.console.visit import Visit, stream_named
from forebay_collector.errors import NotPossible
from forebay_collector.service import commands, configuration, fleet
from forebay_collector.service.commands import Scope
from forebay_collector.service.fleet import HealthSample

RANGES: Final = {"1h": 3_600, "6h": 21_600, "1d": 86_400, "7d": 604_800}
_POINTS: Final = 120
_LEAST: Final = 2
_COMMANDS: Final = 30
_CHARTS_S: Final = 15.0
KINDS: Final = ("pause", "resume", "snapshot", "resend", "drain", "reload", "rotate", "diagnostics", "report")


def agent(visit: Visit) -> Page:
    name = visit.named("name")
    reach = visit.asked("range", "6h")
    reach = reach if reach in RANGES else "6h"
    view = fleet.agent(visit.ledger, visit.actor, name)
    return Page(
        "agent.html",
        {
            "agent": view,
            "charts": visit.recent(
                "health charts",
                lambda: _charts(visit, name, reach),
                seconds=_CHARTS_S,
                more=(name, reach, _language(visit)),
            ),
            "range": reach,
            "ranges": list(RANGES),
            "effective": configuration.effective(visit.ledger, visit.actor, name),
            "offers": configuration.offers_of(visit.ledger, visit.actor, name)[:5],
            "commands": commands.listing(visit.ledger, visit.actor, name, _COMMANDS),
            "kinds": KINDS,
            "sources": sorted({stream.name.split("/", 2)[1] for stream in view.streams}),
        },
    )


def command(visit: Visit) -> Done:
    """Sends the command that the form asks for. What became of it shows on the agent's page."""
    name = visit.named("name")
    kind = visit.said("kind")
    send = _SENDS.get(kind)
    here = agent_path(name) + "#commands"
    if send is None:
        raise NotPossible(f"{kind[:40]!r} is no command", remedy="Choose one of the list.")
    send(visit, name)
    return visit.done(here, "command.sent", kind=visit.words.named("command", kind))


def diagnostics(visit: Visit) -> Response:
    """The file that a command to collect diagnostics brought."""
    number = visit.named("command")
    asked = commands.outcome(visit.ledger, visit.actor, number)
    if not asked.data_bytes:
        raise NotPossible("the file is not kept any more", remedy="Ask for it again.")
    parts = commands.data(visit.ledger, visit.actor, number)
    named = "".join(character if character.isalnum() or character in "-_." else "_" for character in asked.agent)
    ascii_name = named.encode("ascii", "replace").decode().replace("?", "_")
    return StreamingResponse(
        parts,
        media_type="application/zstd",
        headers={"content-disposition": f'attachment; filename="diagnostics-{ascii_name}.tar.zst"'},
    )


def _scope(visit: Visit) -> Scope:
    """What the form says that the command is of: empty: the whole agent, `source:…`, `stream:…`."""
    text = visit.said("scope")
    kind, _, name = text.partition(":")
    if kind == "source":
        return Scope(source=name)
    return Scope(stream=stream_named(name)) if kind == "stream" else Scope()


def _number(visit: Visit, name: str) -> int:
    text = visit.said(name)
    if not text.isdecimal() or len(text) > 18:
        raise NotPossible(f"{name} is not a number", remedy="Give a whole number.")
    return int(text)


def _keys(visit: Visit, name: str) -> list[Any]:
    """The values of a key, as JSON or as one text. Raises NotPossible."""
    text = visit.said(name)
    if not text:
        return []
    try:
        value = json.loads(text) if text.startswith("[") else [text]
    except ValueError:
        raise NotPossible(
            f"{name}: not a list of key values", remedy='Write one value, or a list such as ["a", 1].'
        ) from None
    return list(value)


def _snapshot(visit: Visit, name: str) -> str:
    return commands.snapshot(
        visit.ledger,
        visit.actor,
        stream_named(visit.said("stream")),
        visit.why(),
        _keys(visit, "from_key"),
        _keys(visit, "to_key"),
        agent=name,
    )


def _resend(visit: Visit, name: str) -> str:
    epoch, seq = _number(visit, "epoch"), _number(visit, "from_seq")
    stream = stream_named(visit.said("stream"))
    return commands.resend(visit.ledger, visit.actor, stream, epoch, seq, visit.why(), agent=name)


_SENDS: Final[dict[str, Callable[[Visit, str], str]]] = {
    "pause": lambda visit, name: commands.pause(visit.ledger, visit.actor, name, _scope(visit), visit.why()),
    "resume": lambda visit, name: commands.resume(visit.ledger, visit.actor, name, _scope(visit), visit.why()),
    "snapshot": _snapshot,
    "resend": _resend,
    "drain": lambda visit, name: commands.drain(visit.ledger, visit.actor, name, visit.why()),
    "reload": lambda visit, name: commands.reload(visit.ledger, visit.actor, name, visit.why()),
    "rotate": lambda visit, name: commands.rotate(visit.ledger, visit.actor, name, visit.why()),
    "diagnostics": lambda visit, name: commands.diagnostics(visit.ledger, visit.actor, name, visit.why()),
    "report": lambda visit, name: commands.report(visit.ledger, visit.actor, name, visit.why()),
}


def _language(visit: Visit) -> str:
    return visit.words.language


def _charts(visit: Visit, name: str, reach: str) -> list[tuple[str, str, Markup]]:
    """(title, the newest value, drawing) of what is worth a look over time; none while there are no two samples."""
    now = visit.ledger.database.clock()
    samples = fleet.health(visit.ledger, visit.actor, name, now - RANGES[reach] * 1_000_000)
    if len(samples) < _LEAST:
        return []
    kept = _thinned(samples)
    places = [local(sample.at)[5:16] if RANGES[reach] > 86_400 else local(sample.at)[11:16] for sample in kept]
    words = visit.words

    def chart(key: str, value: Callable[[HealthSample], float], shown: Callable[[float], str], top: float) -> None:
        values = [value(sample) for sample in kept]
        label = words("chart.label", title=words(key), newest=shown(values[-1]), most=shown(max(values)))
        drawn = lines(places, [Line(words(key), values)], label=label, shown=shown, least_top=top)
        made.append((words(key), shown(values[-1]), drawn))

    made: list[tuple[str, str, Markup]] = []
    chart("chart.cpu", lambda sample: sample.cpu_permille / 10, lambda value: f"{value:.0f} %", 100)
    chart("chart.memory", lambda sample: sample.memory_used_permille / 10, lambda value: f"{value:.0f} %", 100)
    chart("chart.disk", lambda sample: sample.disk_free, size, 1 << 30)
    chart("chart.outbox", lambda sample: sample.outbox_bytes, size, 1 << 20)
    chart("chart.round_trip", lambda sample: sample.round_trip / 1e6, lambda value: span(words, value), 10)
    chart("chart.agent_memory", lambda sample: sample.agent_rss, size, 64 << 20)
    return made


def _thinned(samples: Sequence[HealthSample]) -> list[HealthSample]:
    """At most so many of them, evenly, the newest among them."""
    step = max(1, -(-len(samples) // _POINTS))
    return list(samples[::-1][::step][::-1])
