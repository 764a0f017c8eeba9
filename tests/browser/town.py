"""A small town of real processes: one collector with its console, three departments whose tables wait for approval."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

from forebay_collector.demo.departments import ENTERPRISES, LOW_INCOME, PERMITS, Department
from forebay_collector.demo.fleet import Fleet, Site
from forebay_collector.demo.processes import run

HEARTBEAT_S: Final = 2.0
_ROWS: Final = 120


class Town:
    """Three agents over SQLite files, beating every `HEARTBEAT_S` seconds; nothing is approved yet."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet(folder, approve="manual")
        settings = self.fleet.data / "collector.toml"
        text = settings.read_text("utf-8")
        beats = {'#heartbeat = "15s"': f'heartbeat = "{HEARTBEAT_S:.0f}s"'}
        quick = {'#every = "10s"': 'every = "1s"', '#silent = "1m"': 'silent = "4s"', '#clear = "2m"': 'clear = "2s"'}
        for shown, wanted in (beats | quick).items():
            assert text.count(shown) == 1
            text = text.replace(shown, wanted)
        settings.write_text(text, "utf-8")
        for seed, department in enumerate((ENTERPRISES, LOW_INCOME, PERMITS)):
            site = self.fleet.add(replace(department, rows=_ROWS), "sqlite", None, seed)
            with (site.home / "agent.toml").open("a", encoding="utf-8") as file:
                file.write(f'\n[collector]\nheartbeat = "{HEARTBEAT_S:.0f}s"\n')

    def __enter__(self) -> Self:
        self.fleet.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.fleet.stop()

    @property
    def console(self) -> str:
        return self.fleet.console.rstrip("/")

    def site(self, agent: str) -> Site:
        return next(site for site in self.fleet.sites if site.department.agent == agent)

    def link(self, name: str, roles: Sequence[str], departments: Sequence[str] = ()) -> str:
        """A new account's one-time link."""
        return self.fleet.one_time_link(name, roles, departments)

    def run(self, *arguments: str) -> str:
        return run([*self.fleet.command, *arguments], self.fleet.log)

    def approve(self, department: Department) -> None:
        """Approves the department's table at the command line, unless that was done, once it is proposed."""
        stream = stream_of(department)
        wait_for(lambda: stream in self.run("approvals", "--state", "all"), 60)
        if stream in self.run("approvals"):
            self.run("approvals", "approve", stream, "--reason", "agreed")

    def squat(self, department: Department) -> Callable[[], None]:
        """Somebody makes a table where the platform would put this department's, in a format that is not ours.

        -> what takes it away again.
        """
        catalog = SqlCatalog(
            "forebay",
            uri=f"sqlite:///{self.fleet.platform / 'catalog.db'}",
            warehouse=str(self.fleet.platform / "warehouse"),
        )
        place = (department.name, department.source, "main")
        for depth in range(1, 4):
            catalog.create_namespace_if_not_exists(place[:depth])
        name = (*place, department.table)
        catalog.create_table(name, Schema(NestedField(1, "id", LongType())), properties={"format-version": "1"})

        def leave() -> None:
            catalog.drop_table(name)
            catalog.engine.dispose()

        return leave


def stream_of(department: Department) -> str:
    return f"{department.name}/{department.source}/main.{department.table}"


def wait_for(what: Callable[[], bool], seconds: float) -> float:
    """Waits until it is so; -> after how many seconds."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, f"not so after {seconds:.0f} s"
        time.sleep(0.1)
    return time.monotonic() - began
