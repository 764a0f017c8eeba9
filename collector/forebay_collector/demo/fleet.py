"""A small fleet of real processes: one collector, one agent per site, each site with one table and its writer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forebay_collector.demo.compare import Difference, compare, history_twice
from forebay_collector.demo.database import Database, Server
from forebay_collector.demo.departments import Department
from forebay_collector.demo.processes import Daemon, free_port, program, run
from forebay_collector.demo.writer import Writer


@dataclass(slots=True)
class Site:
    """One department's part: its database, who writes to it, and its agent."""

    department: Department
    database: Database
    writer: Writer
    agent: Daemon
    home: Path

    @property
    def state(self) -> Path:
        """The agent's state folder."""
        return self.home / "state"


class Fleet:
    """Everything stands under `folder`; the collector listens on 127.0.0.1 at `port`, its console at `console_port`.

    approve: auto, or manual: then nothing leaves before a person approves it.
    """

    def __init__(self, folder: Path, *, console_port: int = 0, approve: str = "auto") -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.console_port = console_port or free_port()
        self.data = folder / "collector"
        self.platform = self.data / "platform"
        self.log = folder / "setup.log"
        self.sites: list[Site] = []
        self.command = [program("forebay-collector"), "--data", str(self.data)]
        where = ["--address", f"127.0.0.1:{self.port}", "--console", f"127.0.0.1:{self.console_port}"]
        run([*self.command, "init", *where, "--approve", approve], self.log)
        self.collector = Daemon("collector", [*self.command, "serve"], folder / "collector.log")

    def add(
        self, department: Department, dialect: str, server: Server | None, seed: int, *, patient: bool = False
    ) -> Site:
        """Makes and fills the department's table and configures its agent; nothing is started."""
        home = self.folder / department.agent
        (home / "sources.d").mkdir(parents=True, exist_ok=True)
        database = Database(dialect, f"demo_{department.source}", home, server)
        database.create(department.create(dialect))
        (home / "agent.toml").write_text('[agent]\nstate = "state"\n', "utf-8")
        schema = {"sqlite": "main", "mariadb": database.name, "postgresql": "public"}[dialect]
        masks = "[table.masks]\n" + "".join(f'{column} = "{kind}"\n' for column, kind in department.masks.items())
        (home / "sources.d" / f"{department.source}.toml").write_text(
            f'{database.configuration()}poll_interval = "500ms"\n\n'
            f'[[table]]\nname = "{schema}.{department.table}"\n{department.entry}\n{masks}',
            "utf-8",
        )
        agent = Daemon(
            f"agent of {department.name}",
            [program("forebay-agent"), "--config", str(home), "run"],
            home / "agent.log",
        )
        site = Site(department, database, Writer(department, database, seed, patient=patient), agent, home)
        site.writer.fill()
        self.sites.append(site)
        return site

    def start(self) -> None:
        """Starts the collector, enrols every agent with a token of its own, and starts it."""
        self.collector.start()
        self.collector.wait_for_port(self.port)
        for site in self.sites:
            token = site.home / "enrol.token"
            names = ["--department", site.department.name, "--agent", site.department.agent]
            run([*self.command, "token", *names, "--out", str(token)], self.log)
            run([program("forebay-agent"), "--config", str(site.home), "enroll", str(token)], self.log)
            site.agent.start()

    def check(self) -> None:
        """Raises DemoFailed when a process that should run has ended."""
        for daemon in self.daemons:
            daemon.check()

    def stop(self) -> None:
        for daemon in self.daemons:
            daemon.stop()

    @property
    def console(self) -> str:
        """The address of the console."""
        return f"http://127.0.0.1:{self.console_port}/"

    def one_time_link(self, name: str, roles: Sequence[str], departments: Sequence[str] = ()) -> str:
        """Makes an account, and a link that logs in as it once. departments: all of them when empty."""
        rights = [part for role in roles for part in ("--role", role)]
        rights += [part for one in departments for part in ("--department", one)] or ["--all-departments"]
        told = run([*self.command, "users", "add", name, *rights, "--link"], self.log)
        return next(word for word in told.split() if "/login/link?" in word)

    @property
    def daemons(self) -> list[Daemon]:
        return [*(site.agent for site in self.sites), self.collector]

    def settle(self, seconds: float) -> list[Difference]:
        """Compares until all is equal or the time is over; the last comparison counts."""
        deadline = time.monotonic() + seconds
        while True:
            self.check()
            differences = [compare(site.department, site.database, self.platform) for site in self.sites]
            if all(difference.equal for difference in differences) or time.monotonic() > deadline:
                return differences
            time.sleep(1)

    def doubled(self) -> int:
        """Changes that a history holds twice."""
        return sum(history_twice(site.department, self.platform) for site in self.sites)
