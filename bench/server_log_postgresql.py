"""PostgreSQL's log through pgoutput. Its own reader is `pg_recvlogical`, each reading from a slot of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import legal_entity
from bench.measure import Account, account
from bench.server_log import BIG_COLUMNS, Other, password_option
from tests.servers.postgresql import PostgreSQL

_FILL: Final = """
CREATE PROCEDURE fill_{table}(last bigint, step bigint) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..last BY step LOOP
    INSERT INTO {table} SELECT * FROM {rows} WHERE id BETWEEN i AND LEAST(i + step - 1, last);
    COMMIT;
  END LOOP;
END $$
"""


class PostgreSQLLog:
    reader: Final = "pg_recvlogical, pgoutput"

    def __init__(self, server: PostgreSQL, secret: Path) -> None:
        self._server = server
        self._secret = secret
        self._publication = ""

    def access(self) -> Sequence[str]:
        server = self._server
        where = ["--dialect", "postgresql", "--port", str(server.port), "--user", server.user]
        return [*where, "--database", server.database, *password_option(self._secret)]

    def make(self, table: str) -> None:
        self._server.execute(
            f"CREATE TABLE {table} (LIKE {legal_entity.TABLE} INCLUDING ALL)",
            _FILL.format(table=table, rows=legal_entity.TABLE),
        )

    def make_big(self, table: str) -> None:
        self._server.execute(
            f"CREATE TABLE {table} (id bigint PRIMARY KEY, code varchar(20), amount numeric(12,2), at timestamp)"
        )

    def mark(self, table: str, readings: int) -> None:
        self._publication = f"theirs_{table}"
        self._server.execute(f"CREATE PUBLICATION {self._publication} FOR TABLE {table}")
        for reading in range(readings):
            self._server.execute(f"SELECT pg_create_logical_replication_slot('theirs_{reading}', 'pgoutput')")

    def write(self, table: str, rows: int, each: int) -> int:
        return self._measured(f"CALL fill_{table}({rows}, {each})")

    def write_big(self, table: str, rows: int) -> int:
        return self._measured(
            f"INSERT INTO {table} ({BIG_COLUMNS}) SELECT i, 'code-' || i % 1000003, (i % 1000003) / 100.0,"
            f" timestamp '2020-01-01' + i * interval '1 second' FROM generate_series(1::bigint, {rows}) AS i"
        )

    def read(self, reading: int) -> Account:
        end = str(self._server.execute("SELECT pg_current_wal_flush_lsn()")[0][0])
        where = ["-d", self._server.conninfo(password=None), "--slot", f"theirs_{reading}", "--endpos", end]
        how = ["-o", "proto_version=1", "-o", f"publication_names={self._publication}", "-o", "binary=true"]
        command = ["pg_recvlogical", *where, *how, "--start", "--no-loop", "--file", "/dev/null"]
        return account(command, environment={"PGPASSWORD": self._server.password})

    def read_by_others(self, table: str, rows: int) -> list[Other]:
        return []

    def forget(self) -> None:
        self._server.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active", "CHECKPOINT"
        )

    def _measured(self, statement: str) -> int:
        before = self._server.execute("SELECT pg_current_wal_insert_lsn()")[0][0]
        self._server.execute(statement)
        return int(self._server.execute(f"SELECT pg_current_wal_insert_lsn() - '{before}'::pg_lsn")[0][0])
