"""One collector and one agent as real processes, the agent capturing several tables of one source in mode log."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay_collector.demo.processes import Daemon, DemoFailed, free_port, program, run
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

DEPARTMENT = "数据局"
SOURCE = "work"
DRAIN_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Captured:
    """One table of the source. entry: further lines of its `[[table]]`."""

    name: str  # schema.table
    entry: str = ""


class Site:
    """Stands in `folder`. settings: further lines at the top of the source's file."""

    def __init__(
        self,
        folder: Path,
        server: MariaDB | PostgreSQL,
        database: str,
        tables: Sequence[Captured],
        settings: Mapping[str, object],
        *,
        mode: str = "log",
    ) -> None:
        self.home = folder / "agent"
        self.state = self.home / "state"
        self.tables = [table.name for table in tables]
        self._log = folder / "setup.log"
        self._port = free_port()
        self.data = folder / "collector"
        self.collector_command = [program("forebay-collector"), "--data", str(self.data)]
        self.agent_command = [program("forebay-agent"), "--config", str(self.home)]
        (self.home / "sources.d").mkdir(parents=True)
        password = self.home / "password"
        password.touch(0o600)
        password.write_text(server.password, "utf-8")
        (self.home / "agent.toml").write_text('[agent]\nstate = "state"\n', "utf-8")
        lines = {
            "kind": "mysql" if isinstance(server, MariaDB) else "postgresql",
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "tls": "off",
            "poll_interval": "200ms",
        } | ({"database": database} if database else {})
        top = "".join(f"{key} = {json.dumps(value)}\n" for key, value in {**lines, **settings}.items())
        entries = "".join(f'\n[[table]]\nname = "{t.name}"\nmode = "{mode}"\n{t.entry}\n' for t in tables)
        file = self.home / "sources.d" / f"{SOURCE}.toml"
        file.write_text(f'{top}password = {{ file = "{password}" }}\n{entries}', "utf-8")
        self.agent = Daemon("agent", [*self.agent_command, "run"], folder / "agent.log")
        self.collector = Daemon("collector", [*self.collector_command, "serve"], folder / "collector.log")

    def start(self) -> None:
        """Starts the collector, enrols the agent and starts it."""
        run(
            [
                *self.collector_command,
                "init",
                "--address",
                f"127.0.0.1:{self._port}",
                "--approve",
                "auto",
                "--console",
                "127.0.0.1:0",
            ],
            self._log,
        )
        self.collector.start()
        self.collector.wait_for_port(self._port)
        token = self.home / "enrol.token"
        names = ["--department", DEPARTMENT, "--agent", "work-01"]
        run([*self.collector_command, "token", *names, "--out", str(token)], self._log)
        run([*self.agent_command, "enroll", str(token)], self._log)
        self.agent.start()

    def stop(self) -> None:
        self.agent.stop()
        self.collector.stop()

    def check(self) -> None:
        """Raises DemoFailed when a process ended by itself."""
        self.agent.check()
        self.collector.check()

    def stream(self, table: str) -> str:
        return f"{DEPARTMENT}/{SOURCE}/{table}"

    def status(self) -> dict[str, dict[str, Any]]:
        """Table -> how its stream stands, as the agent wrote it down last; without those that it has not told of."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            told = json.loads((self.state / "status.json").read_text("utf-8"))
            prefix = self.stream("")
            return {each["stream"].removeprefix(prefix): each for each in told["streams"]}
        return {}

    def phases(self) -> dict[str, str]:
        """Table -> its phase as the outbox holds it: what an agent that starts now goes on from."""
        file = self.state / "outbox.db"
        if not file.exists():
            return {}
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
            rows = connection.execute("SELECT name, checkpoint FROM stream").fetchall()
        return {name: str(json.loads(checkpoint).get("phase", "start")) for name, checkpoint in rows}

    def reset(self, table: str, reason: str) -> None:
        """What the remedy of a held stream says."""
        run([*self.agent_command, "reset", self.stream(table), "--reason", reason, "--yes"], self._log)

    def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Waits until every stream's snapshot is whole and all that was sealed is loaded, for three looks in a row.
        Nothing may be held. Raises DemoFailed."""
        self.until(self._quiet, seconds, "drained")

    def until(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        looks = 0
        while looks < 3:
            self.check()
            looks = looks + 1 if holds() else 0
            if time.monotonic() > deadline:
                raise DemoFailed(f"not {what} after {seconds:.0f} s: {self.summary()}")
            time.sleep(0.5)

    def summary(self) -> str:
        """The streams in one line."""
        return "; ".join(
            f"{table} {each['state']} epoch={each['epoch']} sealed={each['sealed_seq']} loaded={each['loaded_seq']}"
            f"{' ' + each['code'] + ' ' + each['reason'] if each['code'] else ''}"
            for table, each in self.status().items()
        )

    def verify(self, table: str) -> None:
        """`forebay-collector verify`: it drains first. Raises DemoFailed when it does not call the two sides equal."""
        arguments = [*self.collector_command, "verify", self.stream(table), "--timeout", "5m", "--wait", "5m"]
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=700, check=False)
        if ended.returncode != 0:
            raise DemoFailed(f"verify {table} exited {ended.returncode}: {ended.stdout}{ended.stderr}".strip())

    def count(self, query: str) -> int:
        """The single number that `forebay-collector sql` answers."""
        answer = run([*self.collector_command, "sql", query, "--format", "json"], self._log)
        (row,) = json.loads(answer)
        return int(next(iter(row.values())))

    def _quiet(self) -> bool:
        streams = self.status()
        return set(streams) == set(self.tables) and all(
            each["state"] == "streaming" and each["loaded_seq"] == each["sealed_seq"] for each in streams.values()
        )
