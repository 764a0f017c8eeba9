"""MariaDB's binlog. Its own reader is `mariadb-binlog --read-from-remote-server`.

It reads and parses every event, and prints those from `--start-datetime` on: with a date in the future it reads to nowhere,
two to sixteen times faster than in any form that prints (`--short-form`, `--base64-output`) or writes files (`--raw`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import legal_entity
from bench.measure import Account, account
from bench.server_log import BIG_COLUMNS, SLOW_ROWS, Other, password_option
from tests.servers.mariadb import MariaDB

_FILL: Final = """
CREATE PROCEDURE {name}(IN last BIGINT, IN step BIGINT)
BEGIN
  DECLARE i BIGINT DEFAULT 1;
  WHILE i <= last DO
    INSERT INTO {table} SELECT * FROM {rows} WHERE id BETWEEN i AND LEAST(i + step - 1, last);
    SET i = i + step;
  END WHILE;
END
"""


class MariaDBLog:
    reader: Final = "mariadb-binlog -R, printing nothing"

    def __init__(self, server: MariaDB, database: str, secret: Path) -> None:
        self._server = server
        self._database = database
        self._secret = secret
        self._start = ("", 0)

    def access(self) -> Sequence[str]:
        server = self._server
        where = [
            "--dialect",
            "mariadb",
            "--port",
            str(server.port),
            "--user",
            server.user,
            "--database",
            self._database,
        ]
        return [*where, *password_option(self._secret)]

    def make(self, table: str) -> None:
        self._run(
            f"CREATE TABLE {table} LIKE {legal_entity.TABLE}",
            _FILL.format(name=f"fill_{table}", table=table, rows=legal_entity.TABLE),
        )

    def make_big(self, table: str) -> None:
        self._run(
            f"CREATE TABLE {table} (id BIGINT PRIMARY KEY, code VARCHAR(20), amount DECIMAL(12,2), at DATETIME(6))"
        )

    def mark(self, table: str, readings: int) -> None:
        self._start = self._end()

    def write(self, table: str, rows: int, each: int) -> int:
        before = self._written()
        self._run(f"CALL fill_{table}({rows}, {each})")
        return self._written() - before

    def write_big(self, table: str, rows: int) -> int:
        before = self._written()
        self._run(
            f"INSERT INTO {table} ({BIG_COLUMNS}) SELECT seq, CONCAT('code-', seq MOD 1000003), (seq MOD 1000003) / 100,"
            f" TIMESTAMPADD(SECOND, seq, '2020-01-01 00:00:00') FROM seq_1_to_{rows}"
        )
        return self._written() - before

    def read(self, reading: int) -> Account:
        return account(
            self._command("--start-datetime=2037-01-01 00:00:00"), environment={"MYSQL_PWD": self._server.password}
        )

    def read_by_others(self, table: str, rows: int) -> list[Other]:
        printing = account(self._command(), environment={"MYSQL_PWD": self._server.password})
        file, position = self._start
        command = [sys.executable, "-m", "bench.binlog_reader", *self.access(), "--table", table]
        told = account(
            [*command, "--file", file, "--position", str(position), "--rows", str(min(rows, SLOW_ROWS))], keep=True
        )
        result = json.loads(told.output)
        return [
            Other("mariadb-binlog -R, printing", rows / printing.seconds),
            Other("mysql-replication", result["rows"] / result["seconds"]),
        ]

    def forget(self) -> None:
        self._run("FLUSH BINARY LOGS")
        self._run(f"PURGE BINARY LOGS TO '{self._end()[0]}'")

    def _command(self, *options: str) -> list[str]:
        file, position = self._start
        server = self._server
        where = ["--no-defaults", f"--host={server.host}", f"--port={server.port}", f"--user={server.user}"]
        how = ["--read-from-remote-server", "--skip-ssl", *options]
        return ["mariadb-binlog", *where, *how, f"--start-position={position}", "--to-last-log", file]

    def _run(self, *statements: str) -> None:
        self._server.execute(*statements, database=self._database)

    def _end(self) -> tuple[str, int]:
        row = self._server.execute("SHOW MASTER STATUS")[0]
        return str(row[0]), int(row[1])

    def _written(self) -> int:
        return sum(int(row[1]) for row in self._server.execute("SHOW BINARY LOGS"))
