"""A private MariaDB on loopback.

An initialised data folder is made once per user and machine and copied for each server, so that a start takes about a
second. As root the server runs as user `mysql`; then a folder which that user cannot reach, or one too deep for a Unix
socket's name, is replaced by one right under the temporary folder, which `stop` removes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pymysql

OPTIONS: Final = (
    "--bind-address=127.0.0.1",
    "--skip-networking=0",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--server-id=1",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--binlog-row-image=FULL",
    "--binlog-row-metadata=FULL",
    "--gtid-strict-mode=1",
    "--local-infile=1",
    "--max-allowed-packet=256M",
    "--innodb-log-file-size=48M",
    "--innodb-buffer-pool-size=128M",
    # a killed process loses nothing with this, only a power cut would
    "--innodb-flush-log-at-trx-commit=2",
)
SERVER_USER: Final = "mysql"
_SOCKET_NAME_LIMIT: Final = 100
_START_SECONDS: Final = 60.0


class MariaDB:
    """A running server: `.port`, `.socket`, `.user` and `.password` of a user that may do everything."""

    host: Final = "127.0.0.1"
    user: Final = "owner"
    password: Final = "owner's password"

    def __init__(self, home: Path, *, options: Sequence[str], owned: bool) -> None:
        self.home = home
        self.data = home / "data"
        self.socket = str(home / "s.sock")
        self.log = home / "server.log"
        self.port = 0
        self.options = tuple(options)
        self._owned = owned
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, folder: Path, *, options: Sequence[str] = ()) -> Self:
        """Starts a new server in `folder` (or see the module). `options` come after `OPTIONS` and win over them."""
        folder.mkdir(parents=True, exist_ok=True)
        owned = not _fits(folder)
        home = Path(tempfile.mkdtemp(prefix="forebay-mariadb-")) if owned else folder.resolve()
        server = cls(home, options=options, owned=owned)
        shutil.copytree(_template(), server.data)
        (home / "tmp").mkdir()
        _give_away(home)
        server.restart()
        server._run_as_root(
            f"CREATE USER IF NOT EXISTS {cls.user}@'%' IDENTIFIED BY '{cls.password.replace(chr(39), chr(39) * 2)}'",
            f"GRANT ALL PRIVILEGES ON *.* TO {cls.user}@'%' WITH GRANT OPTION",
        )
        return server

    def restart(self) -> None:
        """Starts it again after `kill` or `halt`, on the same port and data."""
        if self._process is not None:
            self.halt()
        for attempt in range(5):
            if not self.port or attempt:
                self.port = _free_port()
            self._spawn()
            if self._answers():
                return
            self.kill()
        raise RuntimeError(f"MariaDB did not start:\n{self.log.read_text(errors='replace')[-4000:]}")

    def kill(self) -> None:
        """SIGKILL: as if the process had crashed."""
        self._end(signal.SIGKILL)

    def halt(self) -> None:
        """An orderly shutdown; `restart` starts it again."""
        self._end(signal.SIGTERM)

    def stop(self) -> None:
        """Ends the server for good; nothing of it stays running."""
        self.kill()
        if self._owned:
            shutil.rmtree(self.home, ignore_errors=True)

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def connect(self, database: str = "", **options: Any) -> pymysql.Connection[Any]:
        """A new connection of the owner, committing each statement by itself."""
        settings: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": database or None,
            "charset": "utf8mb4",
            "autocommit": True,
            "ssl_disabled": True,
        }
        return pymysql.connect(**{**settings, **options})

    def execute(self, *statements: str, database: str = "") -> list[tuple[Any, ...]]:
        """Runs statements, each committed by itself; returns the rows of the last one."""
        with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def client(self, *arguments: str) -> list[str]:
        """The command line of the database's own client, connected as the owner over loopback."""
        return [
            "mariadb",
            "--no-defaults",
            f"--host={self.host}",
            f"--port={self.port}",
            f"--user={self.user}",
            f"--password={self.password}",
            "--default-character-set=utf8mb4",
            *arguments,
        ]

    def ended_by_itself(self) -> str:
        """How it ended though nobody asked it to, and the end of its log; "" when it did not."""
        if self._process is None or self._process.poll() is None:
            return ""
        return f"exit code {self._process.returncode}\n{self.log.read_text(errors='replace')[-8000:]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "mariadbd",
                    "--no-defaults",
                    f"--datadir={self.data}",
                    f"--socket={self.socket}",
                    f"--port={self.port}",
                    f"--pid-file={self.home / 'pid'}",
                    # a server that starts deletes all temporary tables that it finds there, those of a running one too
                    f"--tmpdir={self.home / 'tmp'}",
                    *_user_option(),
                    *OPTIONS,
                    *self.options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._listens():
                with contextlib.suppress(pymysql.OperationalError):
                    self._run_as_root("SELECT 1")
                    return True
            time.sleep(0.05)
        return False

    def _listens(self) -> bool:
        """The driver would leave its socket open when it is refused."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.socket) == 0

    def _run_as_root(self, *statements: str) -> None:
        connection = pymysql.connect(unix_socket=self.socket, user="root", password="", ssl_disabled=True)
        with contextlib.closing(connection), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _user_option() -> list[str]:
    return [f"--user={SERVER_USER}"] if os.geteuid() == 0 else []


def _give_away(folder: Path) -> None:
    if os.geteuid() == 0:
        for place, _, files in os.walk(folder):
            shutil.chown(place, SERVER_USER, SERVER_USER)
            for file in files:
                shutil.chown(Path(place, file), SERVER_USER, SERVER_USER)


def _fits(folder: Path) -> bool:
    if len(str(folder.resolve())) > _SOCKET_NAME_LIMIT or any(folder.iterdir()):
        return False
    return os.geteuid() != 0 or all(place.stat().st_mode & 0o001 for place in folder.resolve().parents)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _template() -> Path:
    """An initialised data folder of this version of the server, made when there is none yet."""
    version = subprocess.run(["mariadbd", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    template = Path(tempfile.gettempdir(), f"forebay-mariadb-{os.geteuid()}-{version}")
    if not (template.is_dir() and template.stat().st_uid == os.geteuid()):
        made = Path(tempfile.mkdtemp(prefix="forebay-mariadb-template-"))
        _give_away(made)
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={made / 'data'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                "--innodb-log-file-size=48M",
                *_user_option(),
            ],
            check=True,
            capture_output=True,
        )
        if os.geteuid() == 0:
            os.chown(made / "data", 0, 0)
        with contextlib.suppress(OSError):  # another process was faster
            (made / "data").rename(template)
        shutil.rmtree(made, ignore_errors=True)
    return template
