"""The metrics of one process: what is counted, the page, and an address of its own where `[metrics] listen` names one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.routing import Route

from forebay_collector import __version__
from forebay_collector.console.server import ConsoleServer, is_loopback
from forebay_collector.ledger import Ledger
from forebay_collector.metrics.endpoint import metrics_route
from forebay_collector.metrics.exposition import Exposition
from forebay_collector.metrics.process import Process
from forebay_collector.metrics.tally import Tally
from forebay_collector.settings import Settings
from forebay_collector.workers import Died, Worker


class MetricsHost:
    """Opens its own address at once, where it has one, and serves it from `start` to `stop`."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        tally: Tally,
        *,
        roles: Sequence[str],
        workers: Sequence[Worker],
        connections: Callable[[], int],
        died: Died,
    ) -> None:
        """workers: as they are when it is asked. Raises AddressUnusable, ConfigurationError."""
        self._ledger = ledger
        self._process = Process(
            ledger,
            settings.folder,
            tally,
            version=__version__,
            roles=",".join(sorted(roles)),
            workers=workers,
            connections=connections,
        )
        self._exposition = Exposition(ledger, self._process)
        self._anybody = is_loopback(settings.metrics.listen)
        self._server = ConsoleServer(settings, died, "metrics") if settings.metrics.listen else None

    def route(self) -> Route:
        """For the console's address, where a token is always needed."""
        return metrics_route(self._ledger, self._exposition)

    @property
    def address(self) -> str:
        """Its own, empty: it has none."""
        return self._server.address if self._server is not None else ""

    def start(self) -> None:
        """Raises AddressUnusable."""
        if self._server is not None:
            app = Starlette(routes=[metrics_route(self._ledger, self._exposition, anybody=self._anybody)])
            app.state.stop = lambda: None
            self._server.start(app)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._process.stop()
