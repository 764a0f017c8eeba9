"""The fleet of the harness: the collector and three agents as real processes, each on a disk of its own, in its namespace.

A `Member` is one of them. As a service manager would, `keep` starts a member again that ended by itself; only a fault that
stops one keeps it down (`resting`).
"""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import threading
from pathlib import Path
from typing import Any, Final

from forebay_collector.demo.processes import Daemon, DemoFailed, program
from tests.faults.commands import ended
from tests.faults.departments import Department, InMariaDB, InPostgreSQL, InSQLite
from tests.faults.disks import Disk
from tests.faults.intent import Table
from tests.faults.network import Network
from tests.faults.shim import Shim, compile_shim
from tests.faults.writer import Writer

PLACES: Final = ("mariadb", "postgresql", "sqlite")
COLLECTOR: Final = "collector"
_COMMAND_SECONDS: Final = 120


class Member:
    """One process of the fleet with its disk, its switches, and where it is in the network."""

    def __init__(self, name: str, daemon: Daemon, disk: Disk, shim: Shim) -> None:
        self.name = name
        self.daemon = daemon
        self.disk = disk
        self.shim = shim
        self.lock = threading.RLock()
        self.rests = True
        self._log_before = 0

    def start(self) -> None:
        with self.lock:
            self.rests = False
            if self.daemon.process is None:
                self.daemon.start()

    def kill(self) -> None:
        """kill -9; it stays down until it is started."""
        with self.lock:
            self.rests = True
            self._log_before = self.daemon.log.stat().st_size if self.daemon.log.exists() else 0
            if self.daemon.process is not None:
                self.daemon.kill()

    def stop(self) -> None:
        with self.lock:
            self.rests = True
            self.daemon.stop()

    def signal(self, number: signal.Signals) -> bool:
        """Whether there was a process to get it."""
        with self.lock:
            process = self.daemon.process
            if process is None or process.poll() is not None:
                return False
            process.send_signal(number)
            return True

    def ended(self) -> int | None:
        """How the process ended, where it did so by itself; it is then down."""
        with self.lock:
            process = self.daemon.process
            if process is None or process.poll() is None:
                return None
            self.daemon.process = None
            return int(process.returncode)

    def told_since_kill(self) -> str:
        """What it wrote to its log since it was killed last."""
        with self.daemon.log.open("rb") as file:
            file.seek(self._log_before)
            return file.read().decode("utf-8", "replace")


class Fleet:
    """Everything stands under `folder`."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._stack = contextlib.ExitStack()
        self.folder = folder
        self.log = folder / "commands.log"
        self.members: dict[str, Member] = {}
        self.looking = threading.RLock()
        """held by whoever looks at invariants, and by a fault for a moment in which there is nothing to look at"""
        try:
            self.network = Network(PLACES)
            self._stack.callback(self.network.close)
            self._library = compile_shim(folder)
            self.data = folder / COLLECTOR / "disk" / "data"
            self.departments: dict[str, Department] = {}
            for made in (InMariaDB, InPostgreSQL, InSQLite):
                department = made(folder, self.network.of[made.place])
                self.departments[made.place] = department
                self._stack.callback(department.stop)
                department.create()
            self.writers = {
                place: Writer(department, seed + number)
                for number, (place, department) in enumerate(self.departments.items())
            }
            self._add(COLLECTOR, [program("forebay-collector"), "--data", str(self.data), "serve"], 512)
            for place in PLACES:
                self._add(place, [program("forebay-agent"), "--config", str(self.home(place)), "run"], 64)
        except BaseException:
            self._stack.close()
            raise

    def home(self, place: str) -> Path:
        return self.folder / place / "home"

    def state(self, place: str) -> Path:
        return self.folder / place / "disk" / "state"

    @property
    def places(self) -> list[tuple[Department, Table]]:
        return [(department, table) for department in self.departments.values() for table in department.tables]

    def start(self) -> None:
        """Founds the centre, enrols the agents, starts everything."""
        where = ["--address", self.network.collector, "--console", "127.0.0.1:0", "--approve", "auto"]
        self.collector("init", *where)
        self.members[COLLECTOR].start()
        with self.network.of[COLLECTOR].inside():
            self.members[COLLECTOR].daemon.wait_for_port(int(self.network.collector.rpartition(":")[2]))
        for place, department in self.departments.items():
            self._configure(place, department)
            self.writers[place].fill()
            self.enrol(place)
            self.members[place].start()

    def enrol(self, place: str) -> None:
        """With a new token of the centre."""
        token = self.folder / place / "enrol.token"
        token.unlink(missing_ok=True)
        department = self.departments[place]
        self.collector("token", "--department", department.name, "--agent", f"{place}-01", "--out", str(token))
        self.agent(place, "enroll", str(token))

    def collector(self, *arguments: str) -> str:
        return self._run(COLLECTOR, [program("forebay-collector"), "--data", str(self.data), *arguments])

    def agent(self, place: str, *arguments: str) -> str:
        return self._run(place, [program("forebay-agent"), "--config", str(self.home(place)), *arguments])

    def status(self, place: str) -> dict[str, dict[str, Any]]:
        """Stream -> how it stands, as this process of the agent wrote it down last."""
        member = self.members[place]
        process = member.daemon.process
        with contextlib.suppress(OSError, ValueError):
            told = json.loads((self.state(place) / "status.json").read_text("utf-8"))
            if process is not None and told["pid"] == process.pid:
                return {each["stream"]: each for each in told["streams"]}
        return {}

    def keep(self) -> list[tuple[str, int]]:
        """Starts again what ended by itself. -> names and exit codes."""
        found = []
        for member in self.members.values():
            with member.lock:
                code = member.ended()
                if code is not None:
                    found.append((member.name, code))
                if not member.rests:
                    member.start()
        return found

    def stop(self) -> None:
        for member in self.members.values():
            member.signal(signal.SIGCONT)
            member.stop()
        self._stack.close()

    def _add(self, name: str, command: list[str], mebibytes: int) -> None:
        (self.folder / name).mkdir(exist_ok=True)
        disk = Disk(self.folder / name / "disk.image", self.folder / name / "disk", mebibytes)
        self._stack.callback(disk.close)
        shim = Shim(self._library, self.folder / name / "switches", disk.folder)
        started = [*self.network.of[name].prefix, "env", *shim.environment, *command]
        daemon = Daemon(name, started, self.folder / name / "log")
        self.members[name] = Member(name, daemon, disk, shim)

    def _configure(self, place: str, department: Department) -> None:
        home = self.home(place)
        (home / "sources.d").mkdir(parents=True)
        (home / "agent.toml").write_text(
            f'[agent]\nstate = "{self.state(place)}"\n[collector]\nheartbeat = "2s"\nbackoff_first = "200ms"\n'
            f'backoff_most = "2s"\n[outbox]\nfree_disk = "4MiB"\ncap = "40MiB"\n',
            "utf-8",
        )
        entries = "".join(
            f'\n[[table]]\nname = "{department.schema}.{table.name}"\nmode = "{table.mode}"\n{department.entry(table)}\n'
            'masks = { mobile = "mobile" }\n'
            for table in department.tables
        )
        head = department.configuration(home) + 'poll_interval = "200ms"\n'
        (home / "sources.d" / f"{department.source}.toml").write_text(head + entries, "utf-8")

    def _run(self, place: str, command: list[str]) -> str:
        """Raises DemoFailed when it does not exit 0."""
        whole = [*self.network.of[place].prefix, *command]
        told = ended(whole, _COMMAND_SECONDS)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"$ {shlex.join(command)}\n{told.stdout}{told.stderr}")
        if told.returncode != 0:
            reason = (told.stderr.strip() or told.stdout.strip())[-500:]
            raise DemoFailed(f"{Path(command[0]).name} {' '.join(command[3:])} exited {told.returncode}: {reason}")
        return told.stdout
