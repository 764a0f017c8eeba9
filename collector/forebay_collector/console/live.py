"""Live pages: an open page asks for itself as an event stream, and gets the parts of it that changed.

    event: regions   data: {"name": "html", …}     parts whose content is another than a moment ago
    event: reload                                  there are other parts than before: the page is loaded anew
    event: left                                    the session has ended

The page is rendered again every `TICK_S` seconds, from what was read at most a second ago for everybody; what did not
change is not sent. Looking on keeps no session alive.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from forebay_collector.errors import CollectorError

TICK_S: Final = 2.0
QUIET_S: Final = 15.0
MOST: Final = 200
"""Open event streams of one console."""

Look = Callable[[], dict[str, str] | None]
"""Renders the page's parts anew; None: whoever asked may not see it any more."""


class Streams:
    """The event streams that are open. After `stop` all of them end within a tick."""

    def __init__(self, tick_s: float = TICK_S) -> None:
        self._tick_s = tick_s
        self._lock = threading.Lock()
        self._open = 0
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def answer(self, look: Look, shown: str) -> Response:
        """shown: the digest of the parts that the page has now."""
        if self._open >= MOST or self._stopped.is_set():
            return PlainTextResponse("", 503, headers={"retry-after": "30"})
        return StreamingResponse(
            self._events(look, shown),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _events(self, look: Look, shown: str) -> AsyncIterator[str]:
        with self._lock:
            self._open += 1
        try:
            yield "retry: 3000\n\n"
            before: dict[str, str] | None = None
            quiet_s = 0.0
            while not self._stopped.is_set():
                try:
                    now = await run_in_threadpool(look)
                except CollectorError:
                    now = before if before is not None else {}
                if now is None:
                    yield "event: left\ndata: \n\n"
                    return
                changed = self._changed(before, now, shown)
                if before is not None and before.keys() != now.keys():
                    yield "event: reload\ndata: \n\n"
                    return
                before = now
                quiet_s += self._tick_s
                if changed:
                    yield f"event: regions\ndata: {json.dumps(changed, ensure_ascii=False)}\n\n"
                    quiet_s = 0.0
                elif quiet_s >= QUIET_S:
                    yield ": quiet\n\n"
                    quiet_s = 0.0
                await self._sleep()
        finally:
            with self._lock:
                self._open -= 1

    @staticmethod
    def _changed(before: dict[str, str] | None, now: dict[str, str], shown: str) -> dict[str, str]:
        if before is None:
            return {} if digest(now) == shown else now
        return {name: html for name, html in now.items() if before.get(name) != html}

    async def _sleep(self) -> None:
        left = self._tick_s
        while left > 0 and not self._stopped.is_set():
            await asyncio.sleep(min(left, 0.25))
            left -= 0.25


def digest(parts: dict[str, str]) -> str:
    """Says whether a page has the same parts as another rendering of it."""
    made = hashlib.sha256()
    for name, html in parts.items():
        made.update(f"{name}\0{html}\0".encode())
    return made.hexdigest()[:32]
