"""The PostgreSQL harness: a database of its own for each test on a private server, written by psycopg in text mode."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from forebay_agent.capture.postgresql.source import PostgreSQLSource
from forebay_agent.config.model import SourceConfig
from forebay_agent.config.secret import Secret
from tests.contract.harness import OtherSession
from tests.servers.postgresql import PostgreSQL

_COPY, _TO_STDOUT = "COPY (", ") TO STDOUT (FORMAT BINARY)"


class PostgreSQLHarness:
    """Implements `SourceHarness`. Every source reads as `.user`, who may do everything; `reader` makes one who may not."""

    kind = "postgresql"

    def __init__(
        self, server: PostgreSQL, database: str = "", *, encoding: str = "UTF8", locale: str = "C.UTF-8"
    ) -> None:
        self.server = server
        self.database = database or f"test_{secrets.token_hex(6)}"
        self._open: list[PostgreSQLSource] = []
        self._roles: list[str] = []
        if not database:
            server.create_database(self.database, encoding=encoding, locale=locale)

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

    def open(self, **changes: object) -> PostgreSQLSource:
        source = PostgreSQLSource(self.config(**changes))
        self._open.append(source)
        return source

    def execute(self, *statements: str) -> None:
        self.server.execute(*statements, database=self.database)

    def session(self) -> OtherSession:
        return _Session(self.server.connect(autocommit=False, dbname=self.database))

    def rows(self, query: str) -> list[tuple[object, ...]]:
        if query.startswith(_COPY):  # the same query, answered as rows
            query = query.removeprefix(_COPY).removesuffix(_TO_STDOUT)
        return self.server.execute(query, database=self.database)

    def reader(self, *grants: str) -> dict[str, object]:
        """A role with just these grants (`SELECT ON t`); -> what to `open` with to be it."""
        role = f"reader_{secrets.token_hex(4)}"
        self._roles.append(role)
        self.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'", *(f"GRANT {grant} TO {role}" for grant in grants))
        return {"user": role, "password": self._secret(role, "reader")}

    def close(self) -> None:
        for source in self._open:
            source.close()
        self.server.execute(
            f"DROP DATABASE {self.database} WITH (FORCE)", *(f"DROP ROLE {role}" for role in self._roles)
        )

    def _secret(self, user: str, password: str) -> Secret:
        file = Path(self.server.folder, f"password-of-{user}")
        file.write_text(password)
        return Secret(file=file)


class _Session:
    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def execute(self, statement: str) -> None:
        self._connection.execute(statement.encode())

    def commit(self) -> None:
        self._connection.commit()

    def rollback(self) -> None:
        self._connection.rollback()

    def close(self) -> None:
        self._connection.close()
