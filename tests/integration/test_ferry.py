"""Batches that travel on a disk, beside and instead of the line: each comes once, whichever way it went, and none is lost."""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from forebay_agent import identity
from forebay_agent.approval.approvals import Approvals
from forebay_agent.cli.main import main as agent_main
from forebay_agent.clock import SystemClock
from forebay_agent.config.model import CollectorConfig, OutboxConfig
from forebay_agent.errors import FerryUnusable
from forebay_agent.ferry import acknowledge, export
from forebay_agent.outbox import Outbox
from forebay_agent.pulse import Pulses
from forebay_agent.stream_state import Board
from forebay_agent.uplink import Uplink
from forebay_collector.cli.main import main
from forebay_collector.errors import FerryRefused
from forebay_collector.ferry.answer import write_answer
from forebay_collector.ferry.seal import check_sealed_by_agent
from forebay_collector.founding import init
from forebay_collector.identity.authority import Authority
from forebay_collector.ledger import Ledger
from forebay_collector.service import identity as identities
from forebay_collector.service.actor import Actor
from forebay_collector.settings import Settings
from forebay_wire import ferry
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.receiving.batches import DEPARTMENT, SCHEMA, chained
from tests.receiving.collector import InProcess, enrolled, process

AGENT = "scjg-01"
STREAMS = [StreamName(DEPARTMENT, "登记库", f"public.t{number}") for number in range(10)]


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[InProcess]:
    """One that reads what is imported, too."""
    with InProcess(init(tmp_path / "centre", ["127.0.0.1:0"], "auto")) as running:
        data = running.settings.data
        reading: Any = asyncio.run_coroutine_threadsafe(
            running.upload.ferries(data.ferry, data.identity).run(), running._loop
        )
        yield running
        reading.cancel()


class Centre(Protocol):
    """What an appliance is enrolled at."""

    @property
    def settings(self) -> Settings: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def address(self) -> str: ...


class Appliance:
    """An enrolled agent's state folder and outbox; batches are put by hand."""

    def __init__(self, state: Path, collector: Centre, agent: str = AGENT) -> None:
        self.state = state
        self.collector = collector
        credentials = enrolled(collector.settings, collector.ledger, agent)
        identity.prepare(state, credentials.key)
        self.own = identity.finish(
            state,
            agent=agent,
            department=DEPARTMENT,
            addresses=(collector.address,),
            certificate=credentials.certificate,
            authority=credentials.authority,
        )
        Approvals(state).take(control_pb2.Approvals(automatic=True))
        self.outbox = Outbox.open(state, OutboxConfig(free_disk=0))

    def put(self, each: int) -> None:
        """So many batches more of every stream."""
        for stream in STREAMS:
            record = self.outbox.stream(stream)
            self.outbox.put(record, chained(each, stream, record.link, rows_each=1), "{}", schema=SCHEMA)

    def export(self, folder: Path, file_bytes: int = 100_000) -> list[Path]:
        folder.mkdir()
        files, stay = export(self.state, self.own, folder, SystemClock(), file_bytes=file_bytes)
        assert stay == {}
        return [each.path for each in files]

    def send(self) -> None:
        """Everything, by the line."""
        clock = SystemClock()
        config = CollectorConfig(backoff_first=timedelta(milliseconds=20), backoff_most=timedelta(milliseconds=200))
        uplink = Uplink(self.state, config, self.outbox, Board(), Pulses(clock.monotonic), clock)
        thread = threading.Thread(target=uplink.run, daemon=True)
        thread.start()
        until(lambda: self.outbox.state().batches == 0)
        uplink.stop()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def appliance(collector: InProcess, tmp_path: Path) -> Iterator[Appliance]:
    made = Appliance(tmp_path / "state", collector)
    yield made
    made.outbox.close()


def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold"
        time.sleep(0.02)


def imported(collector: InProcess, folder: Path) -> int:
    return main(["--data", str(collector.settings.folder), "import", str(folder)])


def carried(collector: InProcess, file: Path, disk: Path) -> int:
    """One file on a disk of its own."""
    disk.mkdir()
    shutil.copy(file, disk)
    return imported(collector, disk)


def held(collector: InProcess) -> dict[StreamName, list[tuple[int, int]]]:
    """(epoch, seq) of every batch in the ledger, by stream."""
    return {
        stream: sorted(
            (each.epoch, each.seq) for each in collector.ledger.batches.listing(stream=stream, limit=100_000)
        )
        for stream in STREAMS
    }


def test_ten_thousand_batches_by_line_by_disk_or_by_both_out_of_order_come_once_each(
    collector: InProcess, appliance: Appliance, tmp_path: Path
) -> None:
    noise = random.Random(20261128)
    late: list[Path] = []
    disks = iter(tmp_path / f"disk-{number}" for number in range(10_000))
    codes: Counter[int] = Counter()
    for turn in range(10):
        appliance.put(100)
        files = appliance.export(tmp_path / f"export-{turn}")
        assert len(files) > 2
        if turn % 2:
            appliance.send()  # by both: the files come later
            late += files
            continue
        others = noise.sample(late, min(2, len(late)))
        mixed = noise.sample(files + others, len(files) + len(others))
        for file in mixed:
            codes[carried(collector, file, next(disks))] += 1
        until(lambda: not list(collector.settings.data.ferry.glob(f"*{ferry.SUFFIX}")))
        answer = write_answer(
            collector.ledger, collector.settings.data.identity, _identity(collector, files[0]), tmp_path
        )
        assert (
            sum(each.deleted for each in acknowledge(answer, appliance.state, appliance.own, appliance.outbox).streams)
            == 1_000
        )
        assert appliance.outbox.state().batches == 0
    assert codes[1] > 0  # files that waited for one that came after them
    assert held(collector) == {stream: [(1, seq) for seq in range(1, 1_001)] for stream in STREAMS}


def _identity(collector: InProcess, file: Path) -> Any:
    return check_sealed_by_agent(file, Authority.load(collector.settings.data.identity).certificate)[0]


def test_a_batch_leaves_the_outbox_by_the_answer_and_not_by_being_exported(
    collector: InProcess, appliance: Appliance, tmp_path: Path
) -> None:
    appliance.put(2)
    appliance.export(tmp_path / "disk")
    assert appliance.outbox.state().batches == 20
    assert imported(collector, tmp_path / "disk") == 0
    (answer,) = (tmp_path / "disk").glob("answer-*")
    assert imported(collector, tmp_path / "disk") == 0  # twice: nothing is taken again
    taken = acknowledge(answer, appliance.state, appliance.own, appliance.outbox).streams
    assert sorted((each.stream, each.epoch, each.seq, each.deleted, each.trouble) for each in taken) == sorted(
        (stream, 1, 2, 2, None) for stream in STREAMS
    )
    assert [each.deleted for each in acknowledge(answer, appliance.state, appliance.own, appliance.outbox).streams] == [
        0
    ] * len(STREAMS)
    assert held(collector) == {stream: [(1, 1), (1, 2)] for stream in STREAMS}


@dataclass
class Running:
    """A collector that serves as a process of its own."""

    settings: Settings
    ledger: Ledger
    address: str


def test_the_commands_carry_batches_to_a_collector_that_serves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk, config = tmp_path / "disk", tmp_path / "agent"
    disk.mkdir()
    config.mkdir()
    (config / "agent.toml").write_text(f'[agent]\nstate = "{tmp_path / "state"}"\n', "utf-8")
    outbox = ["--config", str(config), "outbox"]
    with process(tmp_path / "centre") as centre:
        centre.start()
        with closing(Ledger.open(centre.settings.data.ledger)) as ledger:
            appliance = Appliance(tmp_path / "state", Running(centre.settings, ledger, centre.address))
            appliance.put(2)
            appliance.outbox.close()
            assert agent_main([*outbox, "export", str(disk), "--stream", str(STREAMS[0])]) == 0
            assert ": 2 batches, 2 rows" in capsys.readouterr().out
            assert agent_main([*outbox, "export", str(disk)]) == 0
            assert main(["--data", str(centre.settings.folder), "import", str(disk)]) == 0
            assert "20 of 20 batches are durable" in capsys.readouterr().out
            assert agent_main([*outbox, "acknowledge", str(disk)]) == 0
            assert "; 2 batches left" in capsys.readouterr().out
            assert agent_main([*outbox, "export", str(disk)]) == 0
            assert "nothing waits that may leave" in capsys.readouterr().out
            assert agent_main([*outbox, "export"]) == 2
            (disk / f"answer-{AGENT}-damaged.ferry").write_bytes(b"FOREBAY FERRY 1\n")
            assert agent_main([*outbox, "acknowledge", str(disk)]) == 1
            assert "remedy: Nothing was taken from it" in capsys.readouterr().err


def test_an_answer_that_is_older_than_what_is_known_changes_nothing(
    collector: InProcess, appliance: Appliance, tmp_path: Path
) -> None:
    appliance.put(1)
    appliance.export(tmp_path / "disk")
    assert imported(collector, tmp_path / "disk") == 0
    (answer,) = (tmp_path / "disk").glob("answer-*")
    appliance.put(3)
    appliance.send()
    appliance.put(1)
    assert {each.deleted for each in acknowledge(answer, appliance.state, appliance.own, appliance.outbox).streams} == {
        0
    }
    assert appliance.outbox.state().batches == 10
    appliance.send()
    assert held(collector) == {stream: [(1, seq) for seq in range(1, 6)] for stream in STREAMS}


# An altered certificate may be merely odd to the library, which warns then; the seal's signature is what refuses it.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_a_ferry_of_which_any_byte_was_altered_is_refused_as_a_whole(
    collector: InProcess, appliance: Appliance, tmp_path: Path
) -> None:
    appliance.put(1)
    (file,) = appliance.export(tmp_path / "disk", 10_000_000)
    whole = file.read_bytes()
    authority = Authority.load(collector.settings.data.identity).certificate
    noise = random.Random(7)
    seal = len(whole) - 1_200  # where who sealed it stands, and the signature: every byte of it
    places = [*range(80), *noise.sample(range(80, seal), 200), *range(seal, len(whole))]
    altered = tmp_path / file.name
    for place, bit in [(place, bit) for place in places for bit in range(8)]:
        content = bytearray(whole)
        content[place] ^= 1 << bit
        altered.write_bytes(content)
        with pytest.raises((FerryRefused, WireError)):
            check_sealed_by_agent(altered, authority)
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        altered.write_bytes(whole[:size])
        with pytest.raises(FerryRefused):
            check_sealed_by_agent(altered, authority)
    altered.write_bytes(whole + b"\0")
    assert carried(collector, altered, tmp_path / "other") == 1
    assert held(collector) == {stream: [] for stream in STREAMS}


def test_what_a_revoked_agent_or_another_centre_sealed_is_refused(
    collector: InProcess, appliance: Appliance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    appliance.put(1)
    appliance.export(tmp_path / "disk")
    identities.revoke(collector.ledger, Actor.local("li"), AGENT, "stolen")
    assert imported(collector, tmp_path / "disk") == 1
    assert "was revoked" in capsys.readouterr().out
    with InProcess(init(tmp_path / "elsewhere", ["127.0.0.1:0"], "auto")) as elsewhere:
        with closing(Appliance(tmp_path / "other", elsewhere).outbox):
            (foreign,) = [
                write_answer(elsewhere.ledger, elsewhere.settings.data.identity, _identity(collector, path), tmp_path)
                for path in (tmp_path / "disk").glob(f"{AGENT}-*.ferry")
            ]
        with pytest.raises(FerryUnusable, match="not sealed by this agent's centre"):
            acknowledge(foreign, appliance.state, appliance.own, appliance.outbox)
        assert imported(elsewhere, tmp_path / "disk") == 1
        assert "was not sealed by an agent of this collector" in capsys.readouterr().out


def test_what_is_not_approved_stays_in_the_outbox(appliance: Appliance, tmp_path: Path) -> None:
    Approvals(appliance.state).take(control_pb2.Approvals())
    appliance.put(1)
    (tmp_path / "disk").mkdir()
    files, stay = export(appliance.state, appliance.own, tmp_path / "disk", SystemClock())
    assert (files, set(stay)) == ([], set(STREAMS))
    assert list((tmp_path / "disk").iterdir()) == []


def test_an_answer_for_another_agent_is_refused(collector: InProcess, appliance: Appliance, tmp_path: Path) -> None:
    appliance.put(1)
    (file,) = appliance.export(tmp_path / "disk", 10_000_000)
    other = Appliance(tmp_path / "other", collector, "scjg-02")
    with closing(other.outbox):
        answer = write_answer(collector.ledger, collector.settings.data.identity, _identity(collector, file), tmp_path)
        with pytest.raises(FerryUnusable, match="is for agent scjg-01"):
            acknowledge(answer, other.state, other.own, other.outbox)
