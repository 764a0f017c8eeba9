"""The demo from beginning to end: set up, fill, run, kill, heal, stop, compare, one last line.

The last line is `demo ok: rows=… changes=… missing=0 extra=0 different=0 seconds=…` (exit 0) or `demo FAILED: …` (1).
With --live everything then goes on, more calmly, until Ctrl-C, and the console can be looked at.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from forebay_collector.demo.compare import Difference
from forebay_collector.demo.database import Server
from forebay_collector.demo.departments import DEPARTMENTS
from forebay_collector.demo.fleet import Fleet
from forebay_collector.demo.processes import DemoFailed, is_free
from forebay_collector.demo.writer import CALM

CATCH_UP_SECONDS = 60
CONSOLE_PORT = 7480
PEOPLE = {"ops": ("operator", "approver", "administrator"), "auditor": ("auditor",)}
"""Who may look at the console of a demo that goes on, and what they may."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=30, help="how long the writers change rows (default 30)")
    parser.add_argument("--seed", type=int, default=450800, help="seed of the synthetic rows and changes")
    parser.add_argument("--live", action="store_true", help="then go on until Ctrl-C, with the console to look at")
    parser.add_argument("--folder", type=Path, help="keep everything here (default: a temporary folder, removed)")
    parser.add_argument("--dialect", choices=("sqlite", "mariadb", "postgresql"), default="sqlite")
    parser.add_argument("--port", type=int, help="port of the server on 127.0.0.1 (not for sqlite)")
    parser.add_argument("--user", help="a user of that server who may create databases")
    parser.add_argument("--password-file", type=Path, help="file that holds that user's password")


def main(arguments: argparse.Namespace) -> int:
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="forebay-demo-"))
    try:
        _play(arguments, folder.resolve())
    except DemoFailed as failure:
        print(f"everything is kept in {folder}", file=sys.stderr)
        print(f"demo FAILED: {failure}")
        return 1
    if arguments.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _play(arguments: argparse.Namespace, folder: Path) -> None:
    """Prints the verdict. Raises DemoFailed."""
    began = time.monotonic()
    progress = Progress()
    progress.say(f"setting up a collector and three departments over {arguments.dialect}")
    fleet = Fleet(folder, console_port=CONSOLE_PORT if arguments.live and is_free(CONSOLE_PORT) else 0)
    server = _server(arguments)
    for place, department in enumerate(DEPARTMENTS):
        fleet.add(department, arguments.dialect, server, arguments.seed + place)
    try:
        fleet.start()
        for site in fleet.sites:
            site.writer.start()
        _stir(fleet, arguments.seconds, progress)
        for site in fleet.sites:
            site.writer.stop()
        progress.say("writers stopped; comparing source and platform independently")
        differences = fleet.settle(CATCH_UP_SECONDS)
        if arguments.live:
            print(_verdict(fleet, differences, time.monotonic() - began), flush=True)
            _live(fleet)
    finally:
        fleet.stop()
    if not arguments.live:
        print(_verdict(fleet, differences, time.monotonic() - began))


def _live(fleet: Fleet) -> None:
    """Goes on writing, and says where the console is and how to get in, until Ctrl-C."""
    for site in fleet.sites:
        site.writer = site.writer.successor(CALM)
        site.writer.start()
    print(f"\nthe console: {fleet.console}")
    for name, roles in PEOPLE.items():
        print(f"  log in once as {name} ({', '.join(roles)}): {fleet.one_time_link(name, roles)}")
    print("Ctrl-C ends everything", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        print("\nending", flush=True)
    for site in fleet.sites:
        site.writer.stop()


def _server(arguments: argparse.Namespace) -> Server | None:
    if arguments.dialect == "sqlite":
        return None
    if not (arguments.port and arguments.user and arguments.password_file):
        raise DemoFailed(f"--dialect {arguments.dialect} needs --port, --user and --password-file")
    return Server(arguments.dialect, arguments.port, arguments.user, arguments.password_file.resolve())


def _stir(fleet: Fleet, seconds: float, progress: Progress) -> None:
    """Lets the writers write, kills one agent and the collector on the way, and starts them again."""
    victim = fleet.sites[1].agent
    plan = [
        (0.30, f"kill -9 {victim.name}", victim.kill),
        (0.38, f"starting {victim.name} again", victim.start),
        (0.55, "kill -9 collector", fleet.collector.kill),
        (0.65, "starting the collector again", fleet.collector.start),
    ]
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        if plan and passed >= plan[0][0] * seconds:
            _, text, act = plan.pop(0)
            progress.say(text)
            act()
        fleet.check()
        counts = ", ".join(f"{site.department.name} {site.writer.changes}" for site in fleet.sites)
        progress.show(f"{passed:4.0f} s  changes written: {counts}")
        time.sleep(0.2)


def _verdict(fleet: Fleet, differences: list[Difference], seconds: float) -> str:
    doubled = fleet.doubled()
    if doubled:
        raise DemoFailed(f"the history holds {doubled} changes twice")
    missing = sum(len(difference.missing) for difference in differences)
    extra = sum(len(difference.extra) for difference in differences)
    different = sum(len(difference.different) for difference in differences)
    figures = (
        f"rows={sum(difference.rows for difference in differences)} "
        f"changes={sum(site.writer.changes for site in fleet.sites)} "
        f"missing={missing} extra={extra} different={different} seconds={seconds:.0f}"
    )
    if missing or extra or different:
        named = [
            f"{site.department.table} {difference.summary()}"
            for site, difference in zip(fleet.sites, differences, strict=True)
            if not difference.equal
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
