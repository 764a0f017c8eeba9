"""A console, with the API beside it, that runs in this process over a stage's folder, on a port of its own, under a clock that can be put ahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from starlette.routing import BaseRoute

from forebay_collector.api.admission import Admission
from forebay_collector.api.operation import Works
from forebay_collector.api.serving import routes
from forebay_collector.console.app import make_app
from forebay_collector.console.server import ConsoleServer
from forebay_collector.ledger import Ledger, now_us
from forebay_collector.settings import Settings
from tests.loading.stage import Stage


class Ahead:
    """The real clock, put ahead by so many microseconds."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def __call__(self) -> int:
        return now_us() + self.ahead_us


class Served:
    """The real application behind the real server. `died` holds what ended by itself."""

    def __init__(
        self,
        stage: Stage,
        settings: Settings | None = None,
        tick_s: float = 0.2,
        clock: Callable[[], int] | None = None,
        beside: Sequence[BaseRoute] = (),
        admission: Callable[[Ledger], Admission] = Admission,
    ) -> None:
        """clock: in place of the one that can be put ahead. beside: what else is served. admission: of the API, in place
        of the usual one."""
        console = replace(stage.settings.console, listen="127.0.0.1:0")
        self.settings = settings or replace(stage.settings, console=console)
        self.ledger = stage.ledger
        self.clock = Ahead()
        stage.ledger.database.clock = clock or self.clock
        self.died: list[tuple[str, BaseException]] = []
        self._server = ConsoleServer(self.settings, lambda name, error: self.died.append((name, error)))
        works = Works(stage.ledger, self.settings, stage.archive, lambda: stage.platform)
        self._app = make_app(
            stage.ledger,
            self.settings,
            archive=stage.archive,
            open_platform=lambda: stage.platform,
            tick_s=tick_s,
            beside=[*routes(works, admission(stage.ledger)), *beside],
        )

    @property
    def address(self) -> str:
        return self._server.address

    def __enter__(self) -> Self:
        self._server.start(self._app)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        assert not self.died
