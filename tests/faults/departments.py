"""The departments: a database each, with two tables, in a namespace of its own, and what its agent is told of it."""

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import psycopg
import pymysql

from tests.faults.intent import COLUMNS, Intent, Row, Table
from tests.faults.network import Namespace
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

DATABASE: Final = "market"
_TYPES: Final = ("BIGINT PRIMARY KEY", "INTEGER", "VARCHAR(11)", "DECIMAL(18,2)", "VARCHAR(400)")


class Department(ABC):
    """place: how the harness calls it; name, source: as Forebay does. The database is reached in its namespace only."""

    place: str
    name: str
    source: str
    schema: str
    begin = "BEGIN"
    marker = "%s"
    failures: tuple[type[Exception], ...]
    """what a database that is away leads to"""

    def __init__(self, namespace: Namespace, tables: Sequence[Table]) -> None:
        self.namespace = namespace
        self.intents = tuple(Intent(table) for table in tables)
        self.added: dict[str, list[str]] = {}
        """table -> columns that were added"""

    @property
    def tables(self) -> list[Table]:
        return [intent.table for intent in self.intents]

    @abstractmethod
    def connect(self) -> Any:
        """A connection of the database's own driver (DB-API 2.0), committing by itself outside of BEGIN."""

    @abstractmethod
    def configuration(self, home: Path) -> str:
        """The head of the source's file."""

    def entry(self, table: Table) -> str:
        """The further lines of the table's entry."""
        return ""

    def sql_name(self, table: Table) -> str:
        return table.name

    def stream(self, table: Table) -> str:
        return f"{self.name}/{self.source}/{self.schema}.{table.name}"

    def plain(self, row: Row) -> Row:
        """As the driver takes it."""
        return row

    def create(self) -> None:
        columns = ", ".join(f"{name} {kind}" for name, kind in zip(COLUMNS, _TYPES, strict=True))
        for table in self.tables:
            self.execute(f"CREATE TABLE {table.name} ({columns}, stamp BIGINT)")
            self.execute(f"CREATE INDEX {table.name}_stamp ON {table.name} (stamp)")

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Each committed by itself. -> the rows of the last one."""
        with contextlib.closing(self.connect()) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def stop(self) -> None:  # noqa: B027  a file needs no end
        pass


class InMariaDB(Department):
    place, name, source, schema = "mariadb", "市监局", "djk", DATABASE
    failures = (pymysql.MySQLError, OSError)

    def __init__(self, folder: Path, namespace: Namespace) -> None:
        super().__init__(namespace, [Table(self.place, "enterprise", "log"), Table(self.place, "licence", "log")])
        with namespace.inside():
            self.server = MariaDB.start(folder / "mariadb")
            self.server.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")

    def connect(self) -> Any:
        with self.namespace.inside():
            return self.server.connect(DATABASE, connect_timeout=5, read_timeout=30, write_timeout=30)

    def configuration(self, home: Path) -> str:
        return _server_lines("mysql", self.server.port, self.server.user, self.server.password, home)

    def stop(self) -> None:
        self.server.stop()


class InPostgreSQL(Department):
    place, name, source, schema = "postgresql", "民政局", "dbk", "public"
    failures = (psycopg.OperationalError, psycopg.InterfaceError, OSError)

    def __init__(self, folder: Path, namespace: Namespace) -> None:
        super().__init__(namespace, [Table(self.place, "family", "log"), Table(self.place, "allowance", "log")])
        with namespace.inside():
            self.server = PostgreSQL.start(folder / "postgresql")
            self.server.create_database(DATABASE)

    def connect(self) -> Any:
        with self.namespace.inside():
            return self.server.connect(dbname=DATABASE, connect_timeout=5)

    def configuration(self, home: Path) -> str:
        return _server_lines("postgresql", self.server.port, self.server.user, self.server.password, home)

    def stop(self) -> None:
        self.server.stop()


class InSQLite(Department):
    place, name, source, schema = "sqlite", "行政审批局", "sgs", "main"
    begin = "BEGIN IMMEDIATE"
    marker = "?"
    failures = (sqlite3.OperationalError,)

    def __init__(self, folder: Path, namespace: Namespace) -> None:
        super().__init__(namespace, [Table(self.place, "permit", "cursor"), Table(self.place, "penalty", "trigger")])
        self.file = folder / "sqlite.db"

    def connect(self) -> Any:
        connection = sqlite3.connect(self.file, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        return connection

    def configuration(self, home: Path) -> str:
        return f'kind = "sqlite"\npath = "{self.file}"\n'

    def entry(self, table: Table) -> str:
        return 'cursor = "stamp"' if table.mode == "cursor" else "install = true"

    def plain(self, row: Row) -> Row:
        return tuple(str(value) if isinstance(value, Decimal) else value for value in row)


def _server_lines(kind: str, port: int, user: str, password: str, home: Path) -> str:
    file = home / "password"
    file.touch(0o600)
    file.write_text(password, "utf-8")
    return (
        f'kind = "{kind}"\nhost = "127.0.0.1"\nport = {port}\ndatabase = "{DATABASE}"\nuser = "{user}"\n'
        f'password = {{ file = "{file}" }}\ntls = "off"\n'
    )
