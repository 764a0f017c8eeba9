"""An appliance that no line leads to the centre from: everything goes by its commands and a disk. Its daemon is a process."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from forebay_agent.cli.main import main
from forebay_wire.stream import StreamName
from tests.receiving.batches import DEPARTMENT

PROGRAM = Path(sys.executable).with_name("forebay-agent")
AGENT = "scjg-01"
PEOPLE = StreamName(DEPARTMENT, "civil", "people")


class Isolated:
    """`home` holds configuration, database and log. Its collector's address is one where nobody listens."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state = home / "state"
        self.log = home / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None
        (home / "sources.d").mkdir(parents=True)
        (home / "agent.toml").write_text(
            f'[agent]\nstate = "{self.state}"\n[outbox]\nfree_disk = "64KiB"\n[collector]\naddresses = ["127.0.0.1:1"]\n'
        )
        (home / "sources.d" / "civil.toml").write_text(
            f'kind = "sqlite"\npath = "{home / "civil.db"}"\npoll_interval = "50ms"\n[canary]\nkind = "off"\n'
            '[[table]]\nname = "people"\nmode = "cursor"\ncursor = "n"\n'
        )
        with closing(sqlite3.connect(home / "civil.db")) as connection:
            connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, text TEXT, n INTEGER NOT NULL)")
            connection.execute("CREATE INDEX people_n ON people (n)")

    def insert(self, first: int, count: int) -> None:
        rows = ((number, str(number), number) for number in range(first, first + count))
        with closing(sqlite3.connect(self.home / "civil.db", timeout=30)) as connection, connection:
            connection.executemany("INSERT INTO people VALUES (?, ?, ?)", rows)

    def command(self, *arguments: str | Path) -> int:
        """`forebay-agent …` in this process; -> its exit code."""
        return main(["--config", str(self.home), *map(str, arguments)])

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([PROGRAM, "--config", str(self.home), "run"], stderr=log)

    def end(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(60) == 0
            self.process = None

    def until(self, holds: Callable[[], bool], seconds: float = 120) -> None:
        """Waits until it holds; fails with the agent's log when it does not, or when the agent died."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.process is None or self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"did not come to hold\n{self.log.read_text()[-4_000:]}"
            time.sleep(0.05)
