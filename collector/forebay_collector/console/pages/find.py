"""Finding an agent or a stream by a part of its name, from every page."""

from __future__ import annotations

from typing import Final

from forebay_collector.console.answers import Page, Redirect
from forebay_collector.console.rendering import agent_path, stream_path
from forebay_collector.console.visit import Visit

MOST: Final = 50


def find(visit: Visit) -> Page | Redirect:
    """One hit is gone to at once."""
    text = visit.asked("q").casefold()
    everyone = visit.agents()
    agents, streams = [], []
    if text:
        agents = [view for view in everyone if text in f"{view.name} {view.department} {view.hostname}".casefold()]
        streams = [(stream, view) for view in everyone for stream in view.streams if text in stream.name.casefold()]
        exact = [view for view in agents if view.name.casefold() == text]
        if len(exact) == 1 or (len(agents) == 1 and not streams):
            return Redirect(agent_path((exact or agents)[0].name))
        if len(streams) == 1 and not agents:
            return Redirect(stream_path(streams[0][0].name))
    return Page("find.html", {"agents": agents[:MOST], "streams": streams[:MOST], "text": visit.asked("q")}, live=False)
