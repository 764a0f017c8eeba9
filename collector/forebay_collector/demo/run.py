"""The demo from beginning to end: set up, fill, run, kill, heal, stop, compare, one last line.

The last line is `demo ok: rows=… changes=… missing=0 extra=0 different=0 seconds=…` (exit 0) or `demo FAILED: …` (1).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from forebay_collector.demo.compare import Difference, compare, history_twice
from forebay_collector.demo.database import Database, Server
from forebay_collector.demo.departments import DEPARTMENTS, Department
from forebay_collector.demo.processes import Daemon, DemoFailed, free_port, program, run
from forebay_collector.demo.writer import Writer

CATCH_UP_SECONDS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=30, help="how long the writer changes rows (default 30)")
    parser.add_argument("--seed", type=int, default=450800, help="seed of the synthetic rows and changes")
    parser.add_argument("--folder", type=Path, help="keep everything here (default: a temporary folder, removed)")
    parser.add_argument("--dialect", choices=("sqlite", "mariadb", "postgresql"), default="sqlite")
    parser.add_argument("--port", type=int, help="port of the server on 127.0.0.1 (not for sqlite)")
    parser.add_argument("--user", help="a user of that server who may create databases")
    parser.add_argument("--password-file", type=Path, help="file that holds that user's password")


@dataclass(slots=True)
class Site:
    """One department's part of the demo."""

    department: Department
    database: Database
    writer: Writer
    agent: Daemon


def main(arguments: argparse.Namespace) -> int:
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="forebay-demo-"))
    try:
        print(_play(arguments, folder.resolve()))
    except DemoFailed as failure:
        print(f"demo FAILED: {failure}")
        print(f"everything is kept in {folder}", file=sys.stderr)
        return 1
    if arguments.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _play(arguments: argparse.Namespace, folder: Path) -> str:
    began = time.monotonic()
    server = None
    if arguments.dialect != "sqlite":
        if not (arguments.port and arguments.user and arguments.password_file):
            raise DemoFailed(f"--dialect {arguments.dialect} needs --port, --user and --password-file")
        server = Server(arguments.dialect, arguments.port, arguments.user, arguments.password_file.resolve())
    progress = Progress()
    progress.say("setting up a collector and three departments")
    collector, port = _collector(folder)
    sites = [_site(department, folder, arguments, server) for department in DEPARTMENTS]
    daemons = [collector, *(site.agent for site in sites)]
    try:
        for site in sites:
            site.writer.fill()
        collector.start()
        collector.wait_for_port(port)
        for site in sites:
            _enrol(site, folder, port)
            site.agent.start()
            site.writer.start()
        _stir(sites, collector, arguments.seconds, progress)
        for site in sites:
            site.writer.stop()
        progress.say("writers stopped; comparing source and platform independently")
        differences = _settle(sites, daemons, folder / "collector" / "platform")
    finally:
        for daemon in daemons:
            daemon.stop()
    doubled = sum(history_twice(site.department, folder / "collector" / "platform") for site in sites)
    if doubled:
        raise DemoFailed(f"the history holds {doubled} changes twice (folder: {folder})")
    return _verdict(sites, differences, time.monotonic() - began)


def _collector(folder: Path) -> tuple[Daemon, int]:
    port = free_port()
    data = folder / "collector"
    folder.mkdir(parents=True, exist_ok=True)
    command = [program("forebay-collector"), "--data", str(data)]
    run([*command, "init", "--address", f"127.0.0.1:{port}"], folder / "setup.log")
    return Daemon("collector", [*command, "serve"], folder / "collector.log"), port


def _site(department: Department, folder: Path, arguments: argparse.Namespace, server: Server | None) -> Site:
    home = folder / department.agent
    (home / "sources.d").mkdir(parents=True, exist_ok=True)
    database = Database(arguments.dialect, f"demo_{department.source}", home, server)
    database.create(department.create(arguments.dialect))
    (home / "agent.toml").write_text(f'[agent]\nstate = "{home / "state"}"\n', "utf-8")
    schema = {"sqlite": "main", "mariadb": database.name, "postgresql": "public"}[arguments.dialect]
    masks = "".join(f'\n[table.columns.{column}]\nmask = "{kind}"\n' for column, kind in department.masks.items())
    (home / "sources.d" / f"{department.source}.toml").write_text(
        f'{database.configuration()}poll_interval = "500ms"\n\n[[table]]\nname = "{schema}.{department.table}"\n'
        f"{department.entry}\n{masks}",
        "utf-8",
    )
    agent = Daemon(
        f"agent of {department.name}", [program("forebay-agent"), "--config", str(home), "run"], home / "agent.log"
    )
    return Site(department, database, Writer(department, database, arguments.seed), agent)


def _enrol(site: Site, folder: Path, port: int) -> None:
    token = folder / f"{site.department.agent}.token"
    collector = [program("forebay-collector"), "--data", str(folder / "collector")]
    names = ["--department", site.department.name, "--agent", site.department.agent]
    run([*collector, "token", *names, "--out", str(token)], folder / "setup.log")
    run(
        [program("forebay-agent"), "--config", str(folder / site.department.agent), "enroll", str(token)],
        folder / "setup.log",
    )


def _stir(sites: list[Site], collector: Daemon, seconds: float, progress: Progress) -> None:
    """Lets the writers write, kills one agent and the collector on the way, and starts them again."""
    victim = sites[1].agent
    plan = [
        (0.30, f"kill -9 {victim.name}", victim.kill),
        (0.38, f"starting {victim.name} again", victim.start),
        (0.55, "kill -9 collector", collector.kill),
        (0.65, "starting the collector again", collector.start),
    ]
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        if plan and passed >= plan[0][0] * seconds:
            _, text, act = plan.pop(0)
            progress.say(text)
            act()
        for daemon in (collector, *(site.agent for site in sites)):
            daemon.check()
        counts = ", ".join(f"{site.department.name} {site.writer.changes}" for site in sites)
        progress.show(f"{passed:4.0f} s  changes written: {counts}")
        time.sleep(0.2)


def _settle(sites: list[Site], daemons: list[Daemon], platform: Path) -> list[Difference]:
    """Compares until all is equal or `CATCH_UP_SECONDS` have passed; the last comparison counts."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while True:
        for daemon in daemons:
            daemon.check()
        differences = [compare(site.department, site.database, platform) for site in sites]
        if all(difference.equal for difference in differences) or time.monotonic() > deadline:
            return differences
        time.sleep(1)


def _verdict(sites: list[Site], differences: list[Difference], seconds: float) -> str:
    missing = sum(len(difference.missing) for difference in differences)
    extra = sum(len(difference.extra) for difference in differences)
    different = sum(len(difference.different) for difference in differences)
    figures = (
        f"rows={sum(difference.rows for difference in differences)} "
        f"changes={sum(site.writer.changes for site in sites)} "
        f"missing={missing} extra={extra} different={different} seconds={seconds:.0f}"
    )
    if missing or extra or different:
        named = [
            f"{site.department.table} {what} {', '.join(keys[:5])}"
            for site, difference in zip(sites, differences, strict=True)
            for what in ("missing", "extra", "different")
            if (keys := getattr(difference, what))
        ]
        raise DemoFailed(f"{figures}; {'; '.join(named)}")
    return f"demo ok: {figures}"


class Progress:
    """One line that is written over on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self._shown = 0.0

    def say(self, text: str) -> None:
        print(f"\r\x1b[K{text}" if self.live else text, flush=True)

    def show(self, text: str) -> None:
        if self.live:
            print(f"\r\x1b[K{text}", end="", flush=True)
        elif time.monotonic() - self._shown >= 5:
            self._shown = time.monotonic()
            print(text, flush=True)
