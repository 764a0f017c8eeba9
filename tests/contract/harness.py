"""What a database must offer to the contract and fidelity suites: one implementation per dialect, on a real server."""

from __future__ import annotations

from typing import Protocol

from forebay_agent.capture.source import Source
from forebay_agent.config.model import SourceConfig


class SourceHarness(Protocol):
    """A private database of one dialect, for one test (an empty schema each time).

    kind: the dialect's name in configuration (`sqlite`, `mysql`, `postgresql`).
    """

    kind: str

    def config(self, **changes: object) -> SourceConfig:
        """The source's configuration as an agent would load it; `changes` replace single fields."""

    def open(self, **changes: object) -> Source:
        """A new session of the dialect under test."""

    def execute(self, *statements: str) -> None:
        """Runs statements as the owner of the tables, each committed by itself, through a driver of its own."""

    def session(self) -> OtherSession:
        """A second connection of the table's owner, to hold transactions open."""

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """What the database itself answers, through a driver that is not the one under test where there is one."""


class OtherSession(Protocol):
    """A connection with a transaction of its own."""

    def execute(self, statement: str) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...
