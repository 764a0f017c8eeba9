"""The SQLite harness: a file of its own for each test, written by the standard library's driver."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

from forebay_agent.capture.source import Source
from forebay_agent.capture.sources import open_source
from forebay_agent.config.model import SourceConfig
from tests.contract.harness import OtherSession


class SQLiteHarness:
    """Implements `SourceHarness`."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "source.db"
        self._open: list[Source] = []
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")

    def config(self, **changes: object) -> SourceConfig:
        config = SourceConfig(name="source", kind=self.kind, file="sources.d/source.toml", path=self.path)
        return replace(config, **changes)  # type: ignore[arg-type]

    def open(self, **changes: object) -> Source:
        source = open_source(self.config(**changes))
        self._open.append(source)
        return source

    def execute(self, *statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    def session(self) -> OtherSession:
        return _Session(self.path)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()

    def close(self) -> None:
        for source in self._open:
            source.close()


class _Session:
    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def execute(self, statement: str) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN")
        self._connection.execute(statement)

    def commit(self) -> None:
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()
