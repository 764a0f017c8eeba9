"""The MySQL harness: a database of its own for each test on a private MariaDB, written by pymysql."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql

from forebay_agent.capture.source import Source
from forebay_agent.capture.sources import open_source
from forebay_agent.config.model import SourceConfig
from forebay_agent.config.secret import Secret
from tests.contract.harness import OtherSession
from tests.servers.mariadb import MariaDB


class MySQLHarness:
    """Implements `SourceHarness`. Every source reads as `.user`, who may do everything; `reader` makes one who may not."""

    kind = "mysql"

    def __init__(self, server: MariaDB, database: str = "") -> None:
        self.server = server
        self.database = database or f"test_{secrets.token_hex(6)}"
        self._open: list[Source] = []
        self._sessions: list[_Session] = []
        self._users: list[str] = []
        server.execute(f"CREATE DATABASE `{self.database}` CHARACTER SET utf8mb4")

    def config(self, **changes: object) -> SourceConfig:
        config = SourceConfig(
            name="source",
            kind=self.kind,
            file="sources.d/source.toml",
            host=self.server.host,
            port=self.server.port,
            database=self.database,
            user=self.server.user,
            password=self._secret(self.server.user, self.server.password),
        )
        return replace(config, **changes)  # type: ignore[arg-type]

    def open(self, **changes: object) -> Source:
        source = open_source(self.config(**changes))
        self._open.append(source)
        return source

    def execute(self, *statements: str) -> None:
        self.server.execute(*statements, database=self.database)

    def session(self) -> OtherSession:
        session = _Session(self.server.connect(self.database, autocommit=False))
        self._sessions.append(session)
        return session

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.server.execute(query, database=self.database)

    def reader(self, *grants: str) -> dict[str, object]:
        """A user with just these grants (`SELECT ON x.t`); -> what to `open` with to be it."""
        user = f"reader_{secrets.token_hex(4)}"
        self._users.append(user)
        self.server.execute(f"CREATE USER {user}@'%' IDENTIFIED BY 'reader'")
        self.server.execute(*(f"GRANT {grant} TO {user}@'%'" for grant in grants))
        return {"user": user, "password": self._secret(user, "reader")}

    def close(self) -> None:
        for source in self._open:
            source.close()
        for session in self._sessions:  # a test that failed leaves its locks
            session.close()
        self.server.execute(
            "SET SESSION lock_wait_timeout = 20",
            f"DROP DATABASE `{self.database}`",
            *(f"DROP USER {user}@'%'" for user in self._users),
        )

    def _secret(self, user: str, password: str) -> Secret:
        file = Path(self.server.home, f"password-of-{user}")
        file.write_text(password)
        return Secret(file=file)


class _Session:
    def __init__(self, connection: pymysql.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: str) -> None:
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(statement)

    def commit(self) -> None:
        self._connection.commit()

    def rollback(self) -> None:
        self._connection.rollback()

    def close(self) -> None:
        if self._connection.open:
            self._connection.close()
