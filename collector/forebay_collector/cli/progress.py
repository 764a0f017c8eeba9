"""Progress of long work: one line that is written over on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import time
from typing import Final, TextIO

from forebay_collector.cli.listing import width

_PAUSE_S: Final = 0.1


class Progress:
    """`say` shows how far the work is; `done` leaves the terminal's line clean."""

    def __init__(self, out: TextIO, *, quiet: bool = False) -> None:
        self._out = out
        self._quiet = quiet
        self._live = out.isatty()
        self._shown = 0
        self._last = ""
        self._at = 0.0

    def say(self, text: str) -> None:
        if self._quiet or text == self._last:
            return
        self._last = text
        if not self._live:
            self._out.write(text + "\n")
            self._out.flush()
        elif time.monotonic() - self._at >= _PAUSE_S:
            self._at = time.monotonic()
            self._out.write("\r" + text + " " * max(0, self._shown - width(text)))
            self._out.flush()
            self._shown = width(text)

    def done(self) -> None:
        if self._shown:
            self._out.write("\r" + " " * self._shown + "\r")
            self._out.flush()
            self._shown = 0
