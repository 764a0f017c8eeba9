"""One centre and appliances that capture the logs of several databases, all of it real processes over TLS.

An appliance's sources are written while it runs or not; where a source goes through a `Proxy`, its connections are
counted there. Source and mirror are read independently: the source by its own driver, the mirror by `forebay-collector
sql`, and by plain pyiceberg where it is read over and over.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError

from forebay_collector.demo.processes import Daemon, free_port, program, run
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

Server = MariaDB | PostgreSQL
Rows = dict[int, Any]
"""key -> value"""

_COMMAND: Final = re.compile(r"`forebay-agent ((?:snapshot|reset) [^`]*)`")


@dataclass(frozen=True, slots=True)
class Table:
    """One captured table of two columns: `id`, the key, and `v`."""

    server: Server
    database: str
    source: str
    name: str

    @property
    def captured(self) -> str:
        """As the source's file names it."""
        return f"{self.database if isinstance(self.server, MariaDB) else 'public'}.{self.name}"

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.server.execute(*statements, database=self.database)

    def rows(self) -> Rows:
        return dict(self.execute(f"SELECT id, v FROM {self.name}"))


class Centre:
    """A collector that serves."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.data = folder / "data"
        self.log = folder / "setup.log"
        self.command = [program("forebay-collector"), "--data", str(self.data)]
        self.port = free_port()
        where = ["--address", f"127.0.0.1:{self.port}", "--console", "127.0.0.1:0"]
        run([*self.command, "init", *where, "--approve", "auto"], self.log)
        self.collector = Daemon("collector", [*self.command, "serve"], folder / "collector.log")
        self.collector.start()
        self.collector.wait_for_port(self.port)

    def sql(self, query: str) -> list[dict[str, Any]]:
        """What `forebay-collector sql` answers."""
        answer: list[dict[str, Any]] = json.loads(run([*self.command, "sql", query, "--format", "json"], self.log))
        return answer

    def stop(self) -> None:
        self.collector.stop()


class Appliance:
    """One agent, `number` of the centre's, of a department of its own."""

    def __init__(self, folder: Path, centre: Centre, number: int) -> None:
        self.home = folder
        self.name = f"log-{number:02d}"
        self.state = folder / "state"
        self.centre = centre
        self.department = f"数据局{number}"
        (folder / "sources.d").mkdir(parents=True)
        (folder / "agent.toml").write_text('[agent]\nstate = "state"\n[collector]\nheartbeat = "2s"\n', "utf-8")
        self.agent = Daemon("agent", [program("forebay-agent"), "--config", str(folder), "run"], folder / "agent.log")

    def capture(self, *tables: Table, settings: Mapping[str, object] | None = None) -> None:
        """Writes the file of the source of these tables, in mode log."""
        first = tables[0]
        password = self.home / f"{first.source}.password"
        password.touch(0o600)
        password.write_text(first.server.password, "utf-8")
        top: dict[str, object] = {
            "kind": "mysql" if isinstance(first.server, MariaDB) else "postgresql",
            "host": first.server.host,
            "port": first.server.port,
            "user": first.server.user,
            "database": first.database,
            "tls": "off",
            **(settings or {}),
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in top.items()]
        lines.append(f'password = {{ file = "{password}" }}')
        lines += [f'\n[[table]]\nname = "{table.captured}"\nmode = "log"' for table in tables]
        new = self.home / f"{first.source}.new"
        new.write_text("\n".join(lines) + "\n", "utf-8")
        new.replace(self.home / "sources.d" / f"{first.source}.toml")

    def start(self) -> None:
        """Starts the agent; enrols it first where it is not."""
        token = self.home / "enrol.token"
        if not token.exists():
            names = ["--department", self.department, "--agent", self.name]
            run([*self.centre.command, "token", *names, "--out", str(token)], self.centre.log)
            self.run("enroll", str(token))
        self.agent.start()

    def stop(self) -> None:
        self.agent.stop()

    def run(self, *arguments: str) -> str:
        """One command to its end. Raises DemoFailed when it does not exit 0."""
        return run([program("forebay-agent"), "--config", str(self.home), *arguments], self.centre.log)

    def stream(self, table: Table) -> str:
        return f"{self.department}/{table.source}/{table.captured}"

    def status(self, table: Table) -> dict[str, Any]:
        """How the table's stream stands, by `status --json`; {} before the agent has told of it."""
        told = self.shown("--json").stdout
        streams = {each["stream"]: each for each in (json.loads(told)["streams"] if told else ())}
        return dict(streams.get(self.stream(table), {}))

    def shown(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`forebay-agent status`: 0, or 1 where a stream is held."""
        command = [program("forebay-agent"), "--config", str(self.home), "status", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def stand(self, table: Table) -> dict[str, Any]:
        """The same, straight from the file that `status` reads: for looking at it often."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            told = json.loads((self.state / "status.json").read_text("utf-8"))
            if told["pid"] == (self.agent.process.pid if self.agent.process is not None else 0):
                return next((dict(each) for each in told["streams"] if each["stream"] == self.stream(table)), {})
        return {}

    def checkpoint(self, table: Table) -> dict[str, Any]:
        """How far the table was captured, as the outbox holds it: what an agent that starts now goes on from."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state / 'outbox.db'}?mode=ro", uri=True)) as connection:
            query = "SELECT checkpoint, epoch FROM stream WHERE source = ? AND name = ?"
            ((checkpoint, epoch),) = connection.execute(query, (table.source, table.captured)).fetchall()
        return {"phase": "start", "after": None, **json.loads(checkpoint), "epoch": epoch}

    def until(self, holds: Callable[[], object], what: str, seconds: float = 60) -> None:
        """Waits for it; fails with what the streams say when it does not come, or when the agent has died."""
        deadline = time.monotonic() + seconds
        while not holds():
            self.agent.check()
            self.centre.collector.check()
            assert time.monotonic() < deadline, f"{what} after {seconds:.0f} s: no\n{self._told()}"
            time.sleep(0.1)

    def until_held(self, table: Table, code: str, seconds: float = 30) -> dict[str, Any]:
        """-> its state, by the CLI."""
        self.until(lambda: self.stand(table).get("code") == code, f"{table.name} held with {code}", seconds)
        return self.status(table)

    def until_equal(self, *tables: Table, seconds: float = 60) -> None:
        """Waits until mirrors are their sources and nothing is held."""
        for table in tables:
            self.until(
                lambda table=table: (
                    self.stand(table).get("state") == "streaming"  # type: ignore[misc]
                    and self.mirror(table) == table.rows()
                ),
                f"{table.name} equal",
                seconds,
            )

    def assert_equal(self, *tables: Table, seconds: float = 60) -> None:
        """The same, and by `forebay-collector sql` too."""
        self.until_equal(*tables, seconds=seconds)
        selects = [f"SELECT '{table.name}' AS t, id, CAST(v AS VARCHAR) AS v FROM {table.name}" for table in tables]
        told: dict[str, Rows] = {table.name: {} for table in tables}
        for row in self.centre.sql(" UNION ALL ".join(selects)):
            assert row["id"] not in told[row["t"]]
            told[row["t"]][row["id"]] = row["v"]
        assert told == {table.name: {key: str(v) for key, v in table.rows().items()} for table in tables}

    def mirror(self, table: Table) -> Rows:
        """The mirror as it is now, by plain pyiceberg. A key that stands in it twice fails."""
        platform = self.centre.data / "platform"
        catalog = SqlCatalog(
            "forebay", uri=f"sqlite:///{platform / 'catalog.db'}", warehouse=str(platform / "warehouse")
        )
        try:
            schema, _, name = table.captured.partition(".")
            rows = catalog.load_table((self.department, table.source, schema, name)).scan().to_arrow()
        except NoSuchTableError:
            return {}
        finally:
            catalog.engine.dispose()
        keys = rows.column("id").to_pylist()
        assert len(keys) == len(set(keys)), f"{table.name}: a key stands twice in the mirror"
        return dict(zip(keys, rows.column("v").to_pylist(), strict=True))

    def obey(self, state: Mapping[str, Any]) -> None:
        """Runs the command that a remedy names, to the letter."""
        found = _COMMAND.search(state["remedy"])
        assert found is not None, f"the remedy names no command: {state['remedy']}"
        words: Sequence[str] = shlex.split(found[1])
        self.run(*words, *(["--yes"] if words[0] == "reset" else []))

    def _told(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            told = json.loads((self.state / "status.json").read_text("utf-8"))
            streams = [
                {name: each[name] for name in ("stream", "state", "epoch", "code", "reason")}
                for each in told["streams"]
            ]
            return "\n".join(map(str, streams)) + "\n" + self.agent.log.read_text("utf-8", "replace")[-3_000:]
        return self.agent.log.read_text("utf-8", "replace")[-3_000:]
