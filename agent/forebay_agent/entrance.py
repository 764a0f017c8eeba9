"""Entrance: with which identity the agent comes in at a collector, and when it does not.

While a renewed certificate is being confirmed nobody comes in: the old one may have ended by then, and whoever comes in
with a certificate that has ended is taken for a thief with a copy of it. The same holds after a crash in between, as long
as the renewed identity is kept beside the old one: first it is settled which of them is in force.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from forebay_agent import identity
from forebay_agent.channel import Channels
from forebay_agent.errors import CollectorUnreachable
from forebay_agent.identity import Identity

_PATIENCE_SECONDS: Final = 60.0


class Coming:
    """One connection on its way in with `own`, until the collector has answered or the connection has ended: then `over`."""

    def __init__(self, own: Identity, entrance: Entrance) -> None:
        self.own = own
        self._entrance = entrance
        self._over = False

    def over(self) -> None:
        """May be called again."""
        if not self._over:
            self._over = True
            self._entrance.leave()


class Entrance:
    """Any thread may call. state: the state folder. channels: those of who comes in here."""

    def __init__(self, state: Path) -> None:
        self.channels = Channels()
        self._state = state
        self._condition = threading.Condition()
        self._coming = 0
        self._closed = False

    def come(self) -> Coming:
        """Raises CertificateRefused (no identity, or it cannot be used now), StateFolderUnusable; CollectorUnreachable while it
        is not settled which certificate is in force."""
        with self._condition:
            if self._closed or identity.load_next(self._state) is not None:
                raise CollectorUnreachable("a renewed certificate has to be confirmed by a collector first")
            own = identity.load(self._state)
            own.check_dates()
            self._coming += 1
        return Coming(own, self)

    def leave(self) -> None:
        """See `Coming.over`."""
        with self._condition:
            self._coming -= 1
            self._condition.notify_all()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Nobody is on the way in, and nobody sets out."""
        with self._condition:
            self._closed = True
            self._condition.wait_for(lambda: self._coming == 0, _PATIENCE_SECONDS)
        try:
            yield
        finally:
            with self._condition:
                self._closed = False
