"""The databases that hold `legal_entity`: each started, loaded and stopped here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import legal_entity
from bench.measure import Account, account
from bench.server_log import ServerLog
from bench.server_log_mariadb import MariaDBLog
from bench.server_log_postgresql import PostgreSQLLog
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

DATABASE: Final = "bench"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A database that holds the table. client: its own client reading the table to nowhere. access: for a source's file.
    schema: that its tables are in. log: None when it has none that is read."""

    name: str
    client: Callable[[], Account]
    access: str
    schema: str
    log: ServerLog | None = None

    @property
    def table(self) -> str:
        return f"{self.schema}.{legal_entity.TABLE}"

    def configure(self, folder: Path, table: str) -> None:
        """Writes the agent's configuration. table: the lines of its `[[table]]`. The folder's name is the source's name."""
        (folder / "sources.d").mkdir(parents=True)
        (folder / "agent.toml").write_text('[agent]\nstate = "state"\n', "utf-8")
        file = folder / "sources.d" / f"{folder.name}.toml"
        file.write_text(f"{self.access}\n[[table]]\n{table}\n", "utf-8")


def _secret(folder: Path, name: str, value: str) -> Path:
    file = folder / f"{name}.password"
    file.touch(0o600)
    file.write_text(value, "utf-8")
    return file


@contextmanager
def mariadb(folder: Path, rows: Path) -> Iterator[Loaded]:
    with MariaDB.start(folder / "mariadb", options=["--innodb-buffer-pool-size=1G"]) as server:
        server.execute(f"CREATE DATABASE {DATABASE}")
        with server.connect(DATABASE, local_infile=True, init_command="SET SESSION sql_log_bin = 0") as connection:
            legal_entity.load_mariadb(connection, rows)
        secret = _secret(folder, "mariadb", server.password)
        command = ["mariadb", "--quick", "--batch", "-h127.0.0.1", f"-P{server.port}", f"-u{server.user}", DATABASE]
        query = f"SELECT * FROM {legal_entity.TABLE}"
        yield Loaded(
            "mariadb",
            lambda: account([*command, "-e", query], environment={"MYSQL_PWD": server.password}),
            f'kind = "mysql"\nhost = "127.0.0.1"\nport = {server.port}\ndatabase = "{DATABASE}"\nuser = "{server.user}"\n'
            f'password = {{ file = "{secret}" }}\ntls = "off"\n',
            DATABASE,
            MariaDBLog(server, DATABASE, secret),
        )


@contextmanager
def postgresql(folder: Path, rows: Path) -> Iterator[Loaded]:
    options = ["shared_buffers=512MB", "max_replication_slots=20", "max_wal_senders=20"]
    with PostgreSQL.start(folder / "postgresql", options=options) as server:
        with server.connect() as connection:
            legal_entity.load_postgresql(connection, rows)
        secret = _secret(folder, "postgresql", server.password)
        conninfo = server.conninfo(password=None)
        query = f"COPY (SELECT * FROM {legal_entity.TABLE}) TO STDOUT (FORMAT BINARY)"
        yield Loaded(
            "postgresql",
            lambda: account(["psql", "-q", conninfo, "-c", query], environment={"PGPASSWORD": server.password}),
            f'kind = "postgresql"\nhost = "127.0.0.1"\nport = {server.port}\ndatabase = "{server.database}"\n'
            f'user = "{server.user}"\npassword = {{ file = "{secret}" }}\ntls = "off"\n',
            "public",
            PostgreSQLLog(server, secret),
        )


@contextmanager
def sqlite(folder: Path, rows: Path) -> Iterator[Loaded]:
    file = folder / "bench.db"
    legal_entity.load_sqlite(file, rows)
    # there is no client library without Python here: the standard library's own cursor to nowhere
    script = (
        "import sqlite3, sys; cursor = sqlite3.connect(sys.argv[1]).execute(sys.argv[2])\n"
        "while cursor.fetchmany(10000): pass"
    )
    query = f"SELECT * FROM {legal_entity.TABLE}"
    yield Loaded(
        "sqlite",
        lambda: account([sys.executable, "-c", script, str(file), query]),
        f'kind = "sqlite"\npath = "{file}"\n',
        "main",
    )
    file.unlink()
