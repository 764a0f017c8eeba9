"""A centre and an appliance between which only disks go: their commands, and what is looked at beside them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from forebay_agent.outbox import OutboxReader
from forebay_collector.cli.main import main
from forebay_collector.demo.processes import Daemon, free_port, program
from forebay_collector.founding import init
from forebay_collector.identity.authority import Authority
from forebay_collector.ledger import Ledger
from forebay_collector.settings import load_settings
from tests.daemon.isolated import AGENT, Isolated
from tests.receiving.batches import DEPARTMENT

IN_ITS_LAST_THIRD = timedelta(minutes=20)
"""left of a certificate that is valid from an hour before it was made"""
IN_ITS_SECOND_HALF = timedelta(minutes=50)


@dataclass
class Centre:
    """A collector; `serve` makes it a process that takes batches and loads them."""

    folder: Path
    disks: Iterator[Path]
    daemon: Daemon | None = None
    tokens: Iterator[int] = field(default_factory=itertools.count)

    def command(self, *arguments: str | Path) -> int:
        return main(["--data", str(self.folder), *map(str, arguments)])

    def serve(self) -> None:
        serving = [program("forebay-collector"), "--data", str(self.folder), "serve"]
        self.daemon = Daemon("collector", serving, self.folder / "serve.log")
        self.daemon.start()
        self.daemon.wait_for_port(int(load_settings(self.folder).listen.rpartition(":")[2]), 60)

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(load_settings(self.folder).data.ledger)

    def token(self, agent: str = AGENT) -> Path:
        file = self.folder / f"{next(self.tokens)}.token"
        assert self.command("token", "--department", DEPARTMENT, "--agent", agent, "--out", file) == 0
        return file

    def disk(self) -> Path:
        made = next(self.disks)
        made.mkdir()
        return made


def founded(folder: Path, approve: str = "auto") -> Centre:
    made = init(folder, [f"127.0.0.1:{free_port()}"], approve, "127.0.0.1:0")
    return Centre(made.folder, (folder.parent / f"{folder.name}-disk-{number}" for number in itertools.count()))


def lives(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """-> says how long the certificates live that the centre gives from then on."""
    whole = Authority.agent_certificate

    def limited(life: timedelta) -> None:
        monkeypatch.setattr(
            Authority,
            "agent_certificate",
            lambda self, request, agent, of, _=None: whole(self, request, agent, of, life),
        )

    return limited


def enrol(appliance: Isolated, centre: Centre) -> None:
    disk = centre.disk()
    assert appliance.command("enroll", centre.token(), "--export", disk) == 0
    assert centre.command("import", disk) == 0
    assert appliance.command("enroll", "--answer", disk) == 0


def round_trip(appliance: Isolated, centre: Centre) -> Path:
    """Out, to the centre, and back. -> the disk."""
    disk = centre.disk()
    assert appliance.command("outbox", "export", disk) == 0
    assert centre.command("import", disk) == 0
    assert appliance.command("outbox", "acknowledge", disk) == 0
    return disk


def captured(appliance: Isolated) -> int:
    """The last row that was, by its cursor; 0: none was."""
    with closing(OutboxReader(appliance.state)) as reader:
        return max((int(json.loads(each.checkpoint).get("low") or 0) for each in reader.streams()), default=0)


def proposed(appliance: Isolated) -> bool:
    file = appliance.state / "proposals.json"
    return file.exists() and bool(json.loads(file.read_text("utf-8"))["content"].get("complete"))
