"""Receiving when things break: full disks, and `kill -9` of a real collector in the middle of uploads."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest

from forebay_collector.archive import LocalArchive
from forebay_collector.founding import init
from forebay_collector.ledger import Ledger
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import upload_pb2
from tests.receiving.batches import DEPARTMENT, STREAM, chained
from tests.receiving.collector import AsProcess, InProcess, enrolled, process
from tests.receiving.sender import Credentials, Sender

OTHER = StreamName(DEPARTMENT, "登记库", "public.个体户")
SEED = int(os.environ.get("FOREBAY_SEED", "20"))
KILLS = 6


@contextmanager
def small_disk(where: Path, size: str) -> Iterator[None]:
    where.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(where)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as out:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    out.write(b"\0" * size)
            except OSError:
                continue
    return filler


@contextmanager
def disks(data: Path, full: str) -> Iterator[None]:
    """The data folder with its archive, its ledger or both on a disk that is small."""
    with ExitStack() as mounted:
        if full != "archive":
            mounted.enter_context(small_disk(data, "24m"))
        if full != "both":
            mounted.enter_context(small_disk(data / "archive", "24m"))
        yield


@pytest.mark.parametrize("full", ["archive", "ledger", "both"])
def test_a_full_disk_refuses_and_loses_nothing_and_receiving_recovers(tmp_path: Path, full: str) -> None:
    data = tmp_path / "data"
    with disks(data, full):
        settings = init(data, ["127.0.0.1:0"], "auto")
        with InProcess(settings) as collector:
            credentials = enrolled(settings, collector.ledger)
            batches = chained(8, rows_each=500, text_bytes=1_000)
            with Sender(collector.address, credentials) as sender:
                sender.hello()
                sender.schema()
                sender.send(*batches[:2])
                sender.durable(2)
                filler = fill(data if full == "ledger" else data / "archive")
                sender.send(*batches[2:5])
                refusals = [sender.refused() for _ in range(3)]
                assert refusals[0].code == upload_pb2.REFUSAL_CODE_UNAVAILABLE
                assert refusals[0].seq == 3
                assert {refused.seq for refused in refusals} == {3, 4, 5}
                assert refusals[0].mark.durable_seq == 2
                assert [mark.durable_seq for mark in sender.more(STREAM).marks] == [2]
                sender.send(batches[2])
                assert sender.refused().code == upload_pb2.REFUSAL_CODE_UNAVAILABLE
                filler.unlink()
                sender.more(STREAM)
                sender.send(*batches[2:])
                sender.durable(8)
            tally = collector.pipeline.tally
            assert (tally.durable, tally.not_durable > 0) == (8, True)
            assert tally.received == tally.durable + tally.not_durable
            archive = collector.pipeline.archive
            assert list(archive.batches(STREAM)) == [(1, seq) for seq in range(1, 9)]
            for batch in batches:
                assert archive.read(STREAM, 1, batch.seq).payload == batch.payload


class Agent(threading.Thread):
    """Uploads until all is acknowledged, over and over from the collector's marks; notes every ack that it saw."""

    def __init__(self, address: str, credentials: Credentials, batches: list[SealedBatch]) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.credentials = credentials
        self.batches = batches
        self.stream = batches[0].stream
        self.acknowledged = 0
        self.went_back: list[tuple[int, int]] = []

    def run(self) -> None:
        while self.acknowledged < len(self.batches):
            with Sender(self.address, self.credentials) as sender:
                try:
                    self._upload(sender)
                except (grpc.RpcError, EOFError):
                    time.sleep(0.05)

    def _upload(self, sender: Sender) -> None:
        mark = sender.hello(self.stream).marks[0]
        if mark.durable_seq < self.acknowledged:
            self.went_back.append((mark.durable_seq, self.acknowledged))
        sender.schema(self.stream)
        sender.send(*self.batches[mark.durable_seq :])
        while self.acknowledged < len(self.batches):
            self.acknowledged = max(self.acknowledged, sender.next("durable", timeout=30).durable.seq)


def kill_at_random(collector: AsProcess, agents: list[Agent], noise: random.Random) -> int:
    """Kills and starts the collector while the agents upload; -> how many acks had been seen at the last kill."""
    seen = 0
    for _ in range(KILLS):
        time.sleep(noise.uniform(0.05, 0.6))
        collector.end(signal.SIGKILL)
        seen = sum(agent.acknowledged for agent in agents)
        collector.start()
    return seen


def test_after_kill_9_everything_acknowledged_is_there_and_nothing_is_doubled(tmp_path: Path) -> None:
    print(f"seed {SEED}: FOREBAY_SEED={SEED} repeats it")
    with process(tmp_path / "data") as collector:
        ledger = Ledger.open(collector.settings.data.ledger)
        credentials = enrolled(collector.settings, ledger)
        sent = [chained(3_000, stream, rows_each=20, text_bytes=400, seed=SEED) for stream in (STREAM, OTHER)]
        agents = [Agent(collector.address, credentials, batches) for batches in sent]
        collector.start()
        for agent in agents:
            agent.start()
        seen = kill_at_random(collector, agents, random.Random(SEED))
        assert seen > 0, "killed before anything was acknowledged: not the middle of an upload"
        for agent in agents:
            agent.join(100)
            assert agent.acknowledged == len(agent.batches)
            assert agent.went_back == [], "a mark moved backwards: something acknowledged was lost"
        assert collector.end(signal.SIGTERM) == 0
        archive = LocalArchive(collector.settings.data.archive)
        for batches in sent:
            stream = batches[0].stream
            assert list(archive.batches(stream)) == [(1, seq) for seq in range(1, len(batches) + 1)]
            assert len(ledger.batches.listing(stream=stream, limit=10_000)) == len(batches)
            for batch in batches:
                stored = archive.read(stream, 1, batch.seq)
                assert (stored.header, stored.payload) == (batch.header, batch.payload)
                assert ledger.batches.header(stream, 1, batch.seq) == batch.header
        archive.close()
        ledger.close()


def test_sigterm_acknowledges_what_came_in_whole_and_exits_with_0(tmp_path: Path) -> None:
    with process(tmp_path / "data") as collector:
        ledger = Ledger.open(collector.settings.data.ledger)
        agent = Agent(collector.address, enrolled(collector.settings, ledger), chained(2_000, rows_each=20))
        collector.start()
        agent.start()
        deadline = time.monotonic() + 20
        while not agent.acknowledged and time.monotonic() < deadline:
            time.sleep(0.01)
        assert collector.end(signal.SIGTERM) == 0
        archive = LocalArchive(collector.settings.data.archive)
        recorded = len(ledger.batches.listing(stream=STREAM, limit=10_000))
        assert 0 < agent.acknowledged <= recorded == len(list(archive.batches(STREAM)))
        archive.close()
        collector.start()
        agent.join(60)
        assert agent.acknowledged == 2_000
        assert agent.went_back == []
        ledger.close()
