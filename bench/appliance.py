"""`make bench-appliance`: what the agent takes of a small appliance, as the kernel counts it.

    MEMORY MiB for the agent in a memory cgroup of its own (256), page cache included: ROWS rows (2,000,000) are copied, then
    500 updates a second are followed in the log for SECONDS (30); then nothing happens for MINUTES (10), and what the agent
    takes meanwhile is measured

Database and collector are outside the cgroup. Prints the figures and writes build/appliance.json; exits 1 when the agent was
killed, a bound does not hold, or the platform does not hold what the database does. Needs root, and cgroups of either
version.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from bench import legal_entity
from bench.end_to_end import cpu_of, end_to_end
from bench.measure import peak_rss_mb
from forebay_collector.demo.processes import Daemon
from tests.servers.mariadb import MariaDB

IDLE_RSS_MB: Final = 120.0
IDLE_CPU_PERCENT: Final = 0.5
_OUT: Final = Path("build") / "appliance.json"
_SUMS: Final = "SELECT COUNT(*) AS n, SUM(id) AS i, SUM(status) AS s FROM legal_entity"
_SETTLED_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Memory in MiB: `cgroup_peak` is all that counts against the limit, `peak` the process's own. limit_met: how often the
    kernel took page cache back because of the limit. idle_written_mb_a_day: what its process gave to disks while nothing
    happened, for a day."""

    rows: int
    memory_limit: int
    snapshot_s: float
    cgroup_peak: float
    limit_met: int
    killed: int
    peak: float
    idle_minutes: float
    idle_rss: float
    idle_cpu_percent: float
    idle_written_mb_a_day: float


class Cgroup:
    """A memory cgroup below this process's own, of version 1 or 2."""

    def __init__(self, limit: int) -> None:
        """limit: bytes. Raises OSError where this process may not make one."""
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text("ascii").splitlines()]
        first = next((path for _, kinds, path in lines if "memory" in kinds.split(",")), None)
        self.version = 2 if first is None else 1
        root = Path("/sys/fs/cgroup/memory" if first is not None else "/sys/fs/cgroup")
        own = root / (first if first is not None else lines[-1][2]).lstrip("/")
        self.folder = (own if own.exists() else root) / f"forebay-bench-{os.getpid()}"
        self.folder.mkdir()
        (self.folder / ("memory.max" if self.version == 2 else "memory.limit_in_bytes")).write_text(str(limit))

    @property
    def entering(self) -> list[str]:
        """What to put before a command so that it runs inside."""
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh"]

    def peak(self) -> float:
        name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        return int((self.folder / name).read_text("ascii")) / (1 << 20)

    def limit_met(self) -> int:
        if self.version == 2:
            return self._of("memory.events", "max")
        return int((self.folder / "memory.failcnt").read_text("ascii"))

    def killed(self) -> int:
        return self._of("memory.events" if self.version == 2 else "memory.oom_control", "oom_kill")

    def _of(self, file: str, name: str) -> int:
        told = dict(line.split() for line in (self.folder / file).read_text("ascii").splitlines())
        return int(told.get(name, 0))


@contextmanager
def cgroup(limit: int) -> Iterator[Cgroup]:
    made = Cgroup(limit)
    try:
        yield made
    finally:
        for _ in range(100):
            try:
                made.folder.rmdir()
                break
            except OSError:  # the last process is still on its way out
                time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--memory", type=int, default=256, help="MiB (default 256)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of updates (default 30)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of idleness (default 10)")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="forebay-appliance-"))
    folder.chmod(0o755)
    try:
        rows_file = folder / "rows.csv"
        legal_entity.write_csv(rows_file, asked.rows)
        with (
            MariaDB.start(folder / "mariadb", options=["--innodb-buffer-pool-size=1G"]) as server,
            cgroup(asked.memory << 20) as group,
        ):
            server.execute("CREATE DATABASE bench")
            with server.connect("bench", local_infile=True, init_command="SET SESSION sql_log_bin = 0") as connection:
                legal_entity.load_mariadb(connection, rows_file)
            figures = _measure(folder, server, group, asked)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in asdict(figures).items():
        print(f"{name:18} {value:,.2f}" if isinstance(value, float) else f"{name:18} {value:,}")
    _OUT.parent.mkdir(exist_ok=True)
    _OUT.write_text(json.dumps(asdict(figures), indent=1) + "\n", "utf-8")
    failed = [
        told
        for told, holds in (
            (f"killed {figures.killed} times for memory", figures.killed == 0),
            (f"idle, it holds more than {IDLE_RSS_MB:g} MiB", figures.idle_rss <= IDLE_RSS_MB),
            (
                f"idle, it takes more than {IDLE_CPU_PERCENT:g} % of a core",
                figures.idle_cpu_percent <= IDLE_CPU_PERCENT,
            ),
        )
        if not holds
    ]
    print(*(f"FAILED: {told}" for told in failed), sep="\n", file=sys.stderr)
    return 1 if failed else 0


def _measure(folder: Path, server: MariaDB, group: Cgroup, asked: argparse.Namespace) -> Figures:
    configuration = folder / "agent"
    secret = _configure(configuration, server)
    idle: dict[str, float] = {}

    def then(command: list[str], agent: Daemon) -> None:
        _updates(server, secret, asked.rows, asked.seconds)
        _settle(command, server, agent)
        assert agent.process is not None
        idle.update(_idle(agent.process.pid, asked.minutes))
        agent.check()
        idle["peak"] = peak_rss_mb(agent.process.pid)

    whole = end_to_end(folder, configuration, asked.rows, 1800, within=group.entering, then=then)
    return Figures(
        rows=asked.rows,
        memory_limit=asked.memory,
        snapshot_s=whole.seconds,
        cgroup_peak=group.peak(),
        limit_met=group.limit_met(),
        killed=group.killed(),
        peak=idle["peak"],
        idle_minutes=asked.minutes,
        idle_rss=idle["rss"],
        idle_cpu_percent=idle["cpu"],
        idle_written_mb_a_day=idle["written"],
    )


def _configure(configuration: Path, server: MariaDB) -> Path:
    (configuration / "sources.d").mkdir(parents=True)
    secret = configuration / "password"
    secret.touch(0o600)
    secret.write_text(server.password, "utf-8")
    (configuration / "agent.toml").write_text('[agent]\nstate = "state"\n', "utf-8")
    (configuration / "sources.d" / "bench.toml").write_text(
        f'kind = "mysql"\nhost = "127.0.0.1"\nport = {server.port}\ndatabase = "bench"\nuser = "{server.user}"\n'
        f'password = {{ file = "{secret}" }}\n\n[[table]]\nname = "{legal_entity.TABLE}"\nmode = "log"\n',
        "utf-8",
    )
    return secret


def _updates(server: MariaDB, secret: Path, rows: int, seconds: float) -> None:
    writer = subprocess.Popen(
        [
            *(sys.executable, "-m", "bench.writer", "--dialect", "mariadb", "--port", str(server.port)),
            *("--user", server.user, "--database", "bench", "--password-file", str(secret)),
            *("--table", legal_entity.TABLE, "--kind", "update", "--rows", str(rows)),
        ]
    )
    try:
        time.sleep(seconds)
        assert writer.poll() is None, "the writer ended"
    finally:
        writer.terminate()
        writer.wait()


def _settle(command: list[str], server: MariaDB, agent: Daemon) -> None:
    """Until the platform says what the database says. Raises TimeoutError."""
    ((n, i, s),) = server.execute(_SUMS, database="bench")
    wanted = [int(n), int(i), int(s)]
    deadline = time.monotonic() + _SETTLED_SECONDS
    said: Any = None
    while said != wanted:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the platform says {said}, the database {wanted}")
        agent.check()
        time.sleep(1.0)
        done = subprocess.run([*command, "sql", "--format", "json", _SUMS], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            (row,) = json.loads(done.stdout)
            said = [int(row[name]) for name in "nis"]


def _idle(pid: int, minutes: float) -> dict[str, float]:
    """The most memory seen, CPU in percent of a core, and MiB a day that were written to disks."""
    process, before, began, rss = psutil.Process(pid), cpu_of(pid), time.monotonic(), 0
    written = process.io_counters().write_bytes
    while time.monotonic() < began + minutes * 60:
        time.sleep(min(5.0, minutes * 60))
        rss = max(rss, process.memory_info().rss)
    took = time.monotonic() - began
    return {
        "rss": rss / (1 << 20),
        "cpu": (cpu_of(pid) - before) / took * 100,
        "written": (process.io_counters().write_bytes - written) / (1 << 20) / took * 86_400,
    }


if __name__ == "__main__":
    sys.exit(main())
