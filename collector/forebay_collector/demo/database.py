"""The departments' databases, through drivers of the demo's own: what the writer writes to and the comparison reads."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay_collector.demo.departments import quote_mark


@dataclass(frozen=True, slots=True)
class Server:
    """A running MariaDB or PostgreSQL that the demo may create databases in."""

    dialect: str
    port: int
    user: str
    password_file: Path


class Database:
    """One department's database: a SQLite file, or a database of a server."""

    def __init__(self, dialect: str, name: str, folder: Path, server: Server | None) -> None:
        self.dialect = dialect
        self.name = name
        self.file = folder / f"{name}.db"
        self.server = server
        self.marker = "?" if dialect == "sqlite" else "%s"

    def quote(self, name: str) -> str:
        mark = quote_mark(self.dialect)
        return f"{mark}{name}{mark}"

    def connect(self, database: str | None = None) -> Any:
        """A connection of the dialect's own driver (DB-API 2.0)."""
        if self.server is None:
            connection = sqlite3.connect(self.file, timeout=30, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")
            return connection
        password = self.server.password_file.read_text("utf-8").strip()
        if self.dialect == "mariadb":
            import pymysql

            return pymysql.connect(
                host="127.0.0.1",
                port=self.server.port,
                user=self.server.user,
                password=password,
                database=self.name if database is None else database or None,
                charset="utf8mb4",
                autocommit=True,
            )
        import psycopg

        return psycopg.connect(
            host="127.0.0.1",
            port=self.server.port,
            user=self.server.user,
            password=password,
            dbname=database or self.name,
            autocommit=True,
        )

    def create(self, statements: Sequence[str]) -> None:
        """Makes the database and runs the statements in it."""
        if self.server is not None:
            with contextlib.closing(self.connect("postgres" if self.dialect == "postgresql" else "")) as connection:
                connection.cursor().execute(f"CREATE DATABASE {self.name}")
        with contextlib.closing(self.connect()) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)

    @contextlib.contextmanager
    def transaction(self, connection: Any) -> Iterator[Any]:
        """One transaction; yields a cursor."""
        cursor = connection.cursor()
        cursor.execute("BEGIN IMMEDIATE" if self.dialect == "sqlite" else "BEGIN")
        try:
            yield cursor
        except BaseException:
            with contextlib.suppress(Exception):  # the connection may be gone; then the server rolls back
                cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")

    def configuration(self) -> str:
        """The lines of the agent's source file that say where this database is."""
        if self.server is None:
            return f'kind = "sqlite"\npath = "{self.file}"\n'
        kind = "mysql" if self.dialect == "mariadb" else "postgresql"
        return (
            f'kind = "{kind}"\nhost = "127.0.0.1"\nport = {self.server.port}\ndatabase = "{self.name}"\n'
            f'user = "{self.server.user}"\npassword = {{ file = "{self.server.password_file}" }}\ntls = "preferred"\n'
        )
