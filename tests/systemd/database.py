"""The department's database, on the appliance: a private MariaDB in the appliance's network namespace."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pymysql

from tests.systemd.box import ROOT, until

_SERVER = """
import json, sys
from pathlib import Path
from tests.servers.mariadb import MariaDB
with MariaDB.start(Path(sys.argv[1]) / "server", options=sys.argv[2:]) as server:
    told = Path(sys.argv[1]) / "told.new"
    told.write_text(json.dumps([server.port, server.socket]))
    told.rename(Path(sys.argv[1]) / "told")
    sys.stdin.read()
"""
PASSWORD = "forebay's password"


class Database:
    """Table `person(id, name, amount)` of database `civil`."""

    def __init__(self, port: int, socket: str) -> None:
        self.port = port
        self._socket = socket

    def client(self, statements: str) -> subprocess.CompletedProcess[str]:
        """What the department's DBA types into the database's own client."""
        command = (
            "mariadb",
            "--no-defaults",
            f"--socket={self._socket}",
            "--user=owner",
            "--password=owner's password",
        )
        return subprocess.run(
            [*command, "--default-character-set=utf8mb4", "--table"],
            input=statements,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def connect(self) -> pymysql.Connection[Any]:
        return pymysql.connect(
            unix_socket=self._socket, user="owner", password="owner's password", charset="utf8mb4", autocommit=True
        )

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def sums(self) -> tuple[int, int, int]:
        """How many rows, and two sums over them: the platform must say the same."""
        ((count, ids, amounts),) = self.run("SELECT COUNT(*), SUM(id), SUM(amount) FROM civil.person")
        return int(count), int(ids), int(amounts)


class Writer:
    """Inserts, updates and deletes until it is stopped: the load that goes on beside everything."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.written = 0

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with closing(self._database.connect()) as connection, connection.cursor() as cursor:
            while not self._stopping.wait(0.02):
                cursor.execute("INSERT INTO civil.person (name, amount) VALUES ('李雷', 1), ('韩梅梅', 2)")
                cursor.execute(
                    "UPDATE civil.person SET amount = amount + 1 WHERE id %% 7 = %s LIMIT 3", (self.written % 7,)
                )
                if self.written % 5 == 0:
                    cursor.execute("DELETE FROM civil.person WHERE amount = 1 LIMIT 1")
                self.written += 1


@contextmanager
def database(namespace: str, folder: Path) -> Iterator[Database]:
    """With user `forebay`, who may read and follow the log."""
    with department(namespace, folder) as found:
        found.run(
            f"CREATE USER forebay@'%' IDENTIFIED BY '{PASSWORD.replace(chr(39), chr(39) * 2)}'",
            "GRANT SELECT ON civil.* TO forebay@'%'",
            "GRANT REPLICATION SLAVE, BINLOG MONITOR, SLAVE MONITOR ON *.* TO forebay@'%'",
        )
        yield found


@contextmanager
def department(namespace: str, folder: Path, *options: str) -> Iterator[Database]:
    """As it is before anybody thinks of sharing it. options: of the server, over its own."""
    folder.mkdir(parents=True)
    with subprocess.Popen(
        ["ip", "netns", "exec", namespace, sys.executable, "-c", _SERVER, str(folder), *options],
        stdin=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        try:
            until((folder / "told").exists, lambda: "the database does not start", 90)
            found = Database(*json.loads((folder / "told").read_text()))
            found.run(
                "CREATE DATABASE civil CHARACTER SET utf8mb4",
                "CREATE TABLE civil.person (id BIGINT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40), amount BIGINT NOT NULL)",
                "INSERT INTO civil.person (name, amount) VALUES ('王芳', 10), ('张伟', 20)",
            )
            yield found
        finally:
            assert process.stdin is not None
            process.stdin.close()
