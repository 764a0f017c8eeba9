"""The console and the API within a process: their server, and the comparisons that people and programs ask for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute

from forebay_collector.api.operation import Works
from forebay_collector.api.serving import routes
from forebay_collector.archive import Archive
from forebay_collector.console.app import make_app
from forebay_collector.console.server import ConsoleServer
from forebay_collector.ledger import Ledger
from forebay_collector.platform.contract import Platform
from forebay_collector.service.background import Background
from forebay_collector.service.verifier import Verifier
from forebay_collector.settings import Settings
from forebay_collector.workers import Died

_log = logging.getLogger("forebay.console")


class Once:
    """The platform, opened when somebody first asks for it, and then the same for everybody."""

    def __init__(self, open_platform: Callable[[], Platform]) -> None:
        self._open = open_platform
        self._lock = threading.Lock()
        self._opened: Platform | None = None

    def __call__(self) -> Platform:
        """Raises PlatformError."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()


class ConsoleHost:
    """Opens the console's address at once and serves from `start` to `stop`."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        archive: Archive,
        open_platform: Callable[[], Platform],
        died: Died,
        beside: Sequence[BaseRoute] = (),
    ) -> None:
        """beside: what else is served at its address. Raises AddressUnusable, ConfigurationError."""
        self._server = ConsoleServer(settings, died)
        api = routes(Works(ledger, settings, archive, open_platform))
        self._app = make_app(ledger, settings, archive=archive, open_platform=open_platform, beside=[*api, *beside])
        background = Background(ledger, open_platform, settings.verify)
        self._verifier = Verifier(ledger, open_platform, on_death=died, background=background.step)

    @property
    def address(self) -> str:
        """Where a browser on this machine finds it."""
        return self._server.address

    def start(self) -> None:
        """Raises AddressUnusable."""
        try:
            self._app.state.warm()
        except Exception as error:  # whoever comes first hears of it
            _log.warning("the console's first page is not ready made reason=%s", error)
        self._verifier.start()
        self._server.start(self._app)

    def stop(self) -> None:
        self._verifier.stop()
        self._server.stop()
