"""An agent as a process of its own, over a SQLite source, enrolled with a scripted collector."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from forebay_wire.stream import StreamName
from tests.daemon.scripted import ScriptedCollector
from tests.receiving.batches import DEPARTMENT

PROGRAM = Path(sys.executable).with_name("forebay-agent")
PEOPLE = StreamName(DEPARTMENT, "civil", "people")
_SOURCE = 'kind = "sqlite"\npath = "{}"\npoll_interval = "50ms"\n[canary]\nkind = "off"\n'
_TABLE = '[[table]]\nname = "{}"\nmode = "cursor"\ncursor = "n"\n'


class AgentProcess:
    """`home` holds its configuration, database and log; `state` its state folder."""

    def __init__(self, home: Path, collector: ScriptedCollector, *, state: Path | None = None) -> None:
        self.home = home
        self.state = state or home / "state"
        self.log = home / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None
        (home / "sources.d").mkdir(parents=True)
        self.table("people")
        (home / "agent.toml").write_text(
            f'[agent]\nstate = "{self.state}"\n[outbox]\nfree_disk = "64KiB"\n'
            '[collector]\nheartbeat = "1s"\nbackoff_first = "50ms"\nbackoff_most = "500ms"\n'
        )
        self.capture("people")
        collector.enrol(self.state)

    def table(self, name: str) -> None:
        with closing(sqlite3.connect(self.home / "civil.db")) as connection:
            connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, text TEXT, n INTEGER NOT NULL)")
            connection.execute(f"CREATE INDEX {name}_n ON {name} (n)")

    def insert(self, first: int, count: int, *, text_bytes: int = 8, table: str = "people") -> None:
        rows = ((number, f"{number:0{text_bytes}d}", number) for number in range(first, first + count))
        with closing(sqlite3.connect(self.home / "civil.db", timeout=30)) as connection, connection:
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)

    def capture(self, *tables: str) -> None:
        """Writes the source's file anew."""
        content = _SOURCE.format(self.home / "civil.db") + "".join(_TABLE.format(table) for table in tables)
        new = self.home / "civil.new"
        new.write_text(content)
        new.replace(self.home / "sources.d" / "civil.toml")

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "--config", str(self.home), "run"],
                stderr=log,
                env=None if environment is None else dict(environment),
            )

    def hear_approvals(self) -> None:
        """Runs until the centre has said what it approves, so that it goes on with that when the centre is away."""
        self.start()
        self.until((self.state / "approvals.json").exists)
        assert self.end() == 0

    def end(self, how: signal.Signals = signal.SIGTERM, *, within: float = 30) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.ended(within)

    def ended(self, within: float = 30) -> int:
        """Waits for the process to end; -> its exit code."""
        assert self.process is not None
        code = self.process.wait(within)
        self.process = None
        return code

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, "--config", str(self.home), *arguments], capture_output=True, text=True, timeout=60, check=False
        )

    def status(self) -> dict[str, Any]:
        """`status.json`, {} before there is one."""
        file = self.state / "status.json"
        told: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return told

    def stream(self, name: StreamName = PEOPLE) -> dict[str, Any]:
        streams = {stream["stream"]: stream for stream in self.status().get("streams", [])}
        return dict(streams.get(str(name), {"state": "", "code": "", "epoch": 0, "durable_seq": 0, "sealed_seq": 0}))

    def until(self, holds: Callable[[], bool], seconds: float = 40) -> None:
        """Waits until it holds; fails with the agent's log when it does not, or when the agent died."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.process is None or self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"did not come to hold\n{self.log.read_text()[-4_000:]}"
            time.sleep(0.05)

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.end(signal.SIGKILL)
