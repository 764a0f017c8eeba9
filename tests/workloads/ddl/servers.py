"""What differs between the two servers in the statements that the writers and the DDL use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import psycopg
import pymysql

from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.workloads.ddl import tables
from tests.workloads.ddl.tables import Column, Table

LOCK_SECONDS: Final = 5

_MARIADB_KINDS: Final = {tables.VARCHAR: "varchar(200)", tables.TEXT: "mediumtext"}
_POSTGRESQL_KINDS: Final = {
    tables.INT: "integer",
    tables.VARCHAR: "varchar(200)",
    tables.DECIMAL: "numeric(12,2)",
    tables.WIDE_DECIMAL: "numeric(16,4)",
}

Failures = (pymysql.MySQLError, psycopg.Error)


class Dialect:
    """One server with its ways. database: where the tables are."""

    def __init__(self, server: MariaDB | PostgreSQL, database: str) -> None:
        self.server = server
        self.database = database
        self.is_mariadb = isinstance(server, MariaDB)

    def connect(self) -> Any:
        """A connection (DB-API 2.0) that begins and ends its transactions by statements of its own."""
        if isinstance(self.server, MariaDB):
            connection = self.server.connect(self.database)
            with connection.cursor() as cursor:
                cursor.execute(
                    f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}, innodb_lock_wait_timeout = {LOCK_SECONDS}"
                )
            return connection
        postgresql = self.server.connect(dbname=self.database)
        postgresql.prepare_threshold = None  # a prepared statement would keep the types that columns had
        postgresql.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        return postgresql

    def quote(self, name: str) -> str:
        return f"`{name}`" if self.is_mariadb else f'"{name}"'

    def place(self, table: Table, name: str = "") -> str:
        return f"{self.quote(table.schema)}.{self.quote(name or table.name)}"

    def kind(self, kind: str) -> str:
        return (_MARIADB_KINDS if self.is_mariadb else _POSTGRESQL_KINDS).get(kind, kind)

    def definition(self, column: Column) -> str:
        """`name type [NOT NULL] [DEFAULT …]`."""
        parts = [self.quote(column.name), self.kind(column.kind)]
        if not column.nullable:
            parts.append("NOT NULL")
        if column.default is not None:
            parts.append(f"DEFAULT {self.literal(column)}")
        return " ".join(parts)

    def literal(self, column: Column) -> str:
        text = str(column.default)
        return (
            text
            if re.fullmatch(r"-?[0-9.]+", text) and column.kind not in (tables.VARCHAR, tables.TEXT)
            else f"'{text}'"
        )

    def create(self, table: Table, columns: Sequence[Column]) -> str:
        lines = [f"{self.quote('id')} bigint PRIMARY KEY", f"{self.quote('stamp')} bigint NOT NULL"]
        lines += [self.definition(column) for column in columns]
        return f"CREATE TABLE {self.place(table)} ({', '.join(lines)})"

    def rename_table(self, table: Table, name: str, other: str) -> str:
        if self.is_mariadb:
            return f"RENAME TABLE {self.place(table, name)} TO {self.place(table, other)}"
        return f"ALTER TABLE {self.place(table, name)} RENAME TO {self.quote(other)}"
