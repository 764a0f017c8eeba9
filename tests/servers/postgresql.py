"""A private PostgreSQL on loopback: its own data folder, its own port, gone when stopped.

    with PostgreSQL.start(tmp_path) as server:
        server.execute("CREATE TABLE t (id int PRIMARY KEY)")
        psycopg.connect(server.conninfo())

PostgreSQL refuses to run as root, so root runs it as the user `postgres`; the data folder then lies in a folder of its
own where that user cannot reach the one given. `fsync` is off: what is tested is the death of processes, which the
operating system's cache outlives. An initialised data folder is made once per process and copied.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypedDict

import psutil
import psycopg
from psycopg import sql

_USER: Final = "forebay"
_SECONDS_TO_START: Final = 60.0
_SETTINGS: Final = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "wal_level=logical",
    "fsync=off",
    "max_connections=60",
    "max_prepared_transactions=10",
    "shared_buffers=64MB",
    "dynamic_shared_memory_type=mmap",  # leaves nothing in /dev/shm when killed
    "log_line_prefix=%m [%p] ",
)


class _Account(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def binary(name: str) -> str:
    """The program `name` of the newest PostgreSQL that is installed. Raises FileNotFoundError."""
    found = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    newest = max(found, key=lambda path: int(path.parts[-3]), default=None)
    path = str(newest) if newest is not None else shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"PostgreSQL is not installed: no program {name}")
    return path


def _account() -> _Account:
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _private_folder(within: Path | None) -> Path:
    """A new folder that the server's user owns and can reach."""
    account = _account()
    if within is not None and (not account or _reachable(within)):
        folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir=within))
    else:
        folder = Path(tempfile.mkdtemp(prefix="forebay-postgresql-"))
    if account:
        os.chown(folder, account["user"], account["group"])
    return folder


def _reachable(folder: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.resolve().parents))


@functools.cache
def _template() -> tuple[Path, str]:
    return _initialised()


def _initialised() -> tuple[Path, str]:
    """A data folder, deleted when the process ends, and the owner's password."""
    folder = _private_folder(None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    password = secrets.token_urlsafe(12)
    password_file = folder / "password"
    password_file.write_text(password)
    password_file.chmod(0o644)  # the folder around it is the server user's alone
    command = [binary("initdb"), "-D", "data", "-U", _USER, "-A", "scram-sha-256", "--pwfile=password"]
    command += ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, **_account())
    return folder / "data", password


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class PostgreSQL:
    """One running server. `user` owns everything and is a superuser; `password` is its password over TCP."""

    host: Final = "127.0.0.1"

    def __init__(self, folder: Path, data: Path, password: str, options: Sequence[str]) -> None:
        self.folder = folder
        self.data = data
        self.user = _USER
        self.password = password
        self.database = "postgres"
        self.port = 0
        self._options = tuple(options)
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, folder: Path | None = None, *, options: Sequence[str] = (), fresh: bool = False) -> Self:
        """Starts a server with an empty database. `options`: settings as `name=value`, over the ones above. fresh: with a
        system identifier of its own, which copies of one data folder share."""
        template, password = _initialised() if fresh else _template()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        own = _private_folder(folder)
        data = own / "data"
        subprocess.run(["cp", "-a", str(template), str(data)], check=True)
        server = cls(own, data, password, options)
        try:
            server.restart()
        except BaseException:
            server.stop()
            raise
        return server

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def conninfo(self, **changes: object) -> str:
        """A libpq connection string; `changes` replace or add parameters."""
        parameters: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": self.database,
        }
        return psycopg.conninfo.make_conninfo("", **(parameters | changes))

    def connect(self, *, autocommit: bool = True, **changes: object) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.conninfo(**changes), autocommit=autocommit)

    def execute(self, *statements: str, database: str = "") -> list[tuple[Any, ...]]:
        """Runs statements, each committed by itself; returns the rows of the last one."""
        rows: list[tuple[Any, ...]] = []
        with self.connect(dbname=database or self.database) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def create_database(self, name: str, *, encoding: str = "UTF8", locale: str = "C.UTF-8") -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE {}")
        with self.connect() as connection:
            connection.execute(statement.format(sql.Identifier(name), sql.Literal(encoding), sql.Literal(locale)))

    def restart(self) -> None:
        """Starts the server again over its data, on its port where it had one; ends it first where it runs."""
        self._end()
        for _ in range(5):
            port = self.port or _free_port()
            if self._run(port):
                self.port = port
                return
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log()[-2000:]}")

    def restart_as_standby_of(self, primary: PostgreSQL) -> None:
        """Becomes a hot standby: a copy of the primary, with its users and passwords, that follows its log."""
        self._end()
        shutil.rmtree(self.data)
        command = [
            binary("pg_basebackup"),
            "-d",
            primary.conninfo(),
            "-D",
            str(self.data),
            "-R",
            "--no-sync",
            "-c",
            "fast",
        ]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL, **_account())
        self.password = primary.password
        self.restart()

    def kill(self) -> None:
        """SIGKILL to the server and all its processes, as by `kill -9`."""
        if self._process is None:
            return
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(self._process.pid)
            postmaster.suspend()  # starts nobody anew while its children die
            family = [postmaster, *postmaster.children(recursive=True)]
        for process in reversed(family):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(family, timeout=10)
        self._process = None

    def stop(self) -> None:
        """Ends the server and deletes its folder."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What the server wrote to its log so far."""
        path = self.folder / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def ended_by_itself(self) -> str:
        """How it ended though nobody asked it to, and the end of its log; "" when it did not."""
        if self._process is None or self._process.poll() is None:
            return ""
        return f"exit code {self._process.returncode}\n{self.log()[-8000:]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, port: int) -> bool:
        """Whether a server came up on this port."""
        settings = [part for option in (*_SETTINGS, *self._options) for part in ("-c", option)]
        command = [binary("postgres"), "-D", str(self.data), "-p", str(port), *settings]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **_account()
            )
        deadline = time.monotonic() + _SECONDS_TO_START
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                return False
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.conninfo(port=port, connect_timeout=5)).close()
                return True
            time.sleep(0.02)
        self.kill()
        return False

    def _end(self) -> None:
        """A fast shutdown: SIGINT ends open sessions; SIGKILL where that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None
