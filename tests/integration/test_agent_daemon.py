"""The agent as a process: how it starts, is told of changes, waits, is held, and ends."""

from __future__ import annotations

import os
import random
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from forebay_agent.config.model import OutboxConfig
from forebay_agent.outbox import Outbox
from forebay_wire.stream import StreamName
from tests.daemon.agent import PEOPLE, AgentProcess
from tests.daemon.scripted import Script, ScriptedCollector
from tests.receiving.batches import DEPARTMENT


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def collector(tmp_path: Path, script: Script) -> Iterator[ScriptedCollector]:
    with ScriptedCollector(tmp_path / "authority", script) as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path, collector: ScriptedCollector) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path / "agent", collector) as made:
        yield made


def ids(script: Script, epoch: int = 0, stream: StreamName = PEOPLE) -> list[int]:
    """The keys that arrived. None arrived twice in one way: a row of the snapshot's bound comes once more with the first
    window (`u` after `r`), and never again while it stays as it is."""
    rows = [(row["_op"], row["id"]) for row in script.rows(stream, epoch)]
    assert epoch == 0 or len(rows) == len(set(rows))
    return sorted({number for _, number in rows})


def test_committed_rows_arrive_once_and_a_polite_end_is_quick(agent: AgentProcess, script: Script) -> None:
    agent.insert(1, 1_000)
    agent.start()
    agent.until(lambda: len(script.rows(PEOPLE)) >= 1_000)
    agent.insert(1_001, 5)
    agent.until(lambda: len(script.rows(PEOPLE)) >= 1_005)
    time.sleep(0.5)  # windows go on reading the newest row again
    assert ids(script, epoch=1) == list(range(1, 1_006))
    began = time.monotonic()
    assert agent.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 5


def test_a_polite_end_in_the_middle_of_a_snapshot_is_quick_and_the_rest_comes_later(
    agent: AgentProcess, script: Script
) -> None:
    agent.insert(1, 400_000, text_bytes=60)
    source = agent.home / "sources.d" / "civil.toml"
    source.write_text("batch_rows = 1000\n" + source.read_text())  # 400 pieces, each durable by itself
    agent.start()
    agent.until(lambda: len(script.came) > 0)
    began = time.monotonic()
    assert agent.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 8
    assert len(script.rows(PEOPLE)) < 400_000, "it had been read to its end"
    agent.start()
    agent.until(lambda: len(script.rows(PEOPLE)) >= 400_000, 90)
    assert ids(script, epoch=1) == list(range(1, 400_001))


def test_a_second_agent_on_the_same_state_folder_refuses_and_the_first_goes_on(
    agent: AgentProcess, script: Script
) -> None:
    agent.start()
    agent.until(lambda: bool(agent.status()))
    second = agent.command("run")
    assert second.returncode == 3
    assert "another agent" in second.stderr
    agent.insert(1, 1)
    agent.until(lambda: ids(script) == [1])
    assert agent.end() == 0


def test_a_damaged_outbox_stops_the_agent_with_its_remedy_and_is_left_as_it_is(
    agent: AgentProcess, script: Script
) -> None:
    agent.insert(1, 10)
    agent.start()
    agent.until(lambda: ids(script) != [])
    assert agent.end() == 0
    file = agent.state / "outbox.db"
    file.write_bytes(b"\0" * 16 + file.read_bytes()[16:])
    damaged = file.read_bytes()
    refused = agent.command("run")
    assert refused.returncode == 1
    assert "damaged" in refused.stderr
    assert "Keep the file" in refused.stderr
    assert file.read_bytes() == damaged


def test_an_outbox_that_breaks_under_a_running_agent_ends_the_process_with_the_reason(
    agent: AgentProcess, script: Script
) -> None:
    agent.insert(1, 10)
    agent.start()
    agent.until(lambda: ids(script) != [])
    with closing(sqlite3.connect(agent.state / "outbox.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(agent.state / "outbox.db", 2 * 16_384)
    agent.insert(11, 10)
    assert agent.ended() == 1
    assert "FB-OUTBOX-DAMAGED" in agent.log.read_text()
    assert "Keep the file" in agent.log.read_text()


def test_a_lost_state_folder_is_held_and_a_reset_brings_the_table_anew(agent: AgentProcess, script: Script) -> None:
    agent.insert(1, 20)
    agent.start()
    agent.until(lambda: ids(script) == list(range(1, 21)))
    assert agent.end() == 0
    for file in agent.state.glob("outbox.db*"):
        file.unlink()
    agent.insert(21, 5)
    agent.start()
    agent.until(lambda: agent.stream()["state"] == "held")
    assert agent.stream()["code"] == "FB-STATE-LOST"
    assert "reset" in agent.stream()["remedy"]
    taken = len(script.taken[PEOPLE])
    reset = agent.command("reset", str(PEOPLE), "--reason", "the disk was replaced", "--yes")
    assert reset.returncode == 0, reset.stderr
    agent.until(lambda: ids(script, epoch=2) == list(range(1, 26)))
    agent.until(lambda: agent.stream()["state"] == "streaming")
    first = script.taken[PEOPLE][taken]
    assert (first.epoch, first.seq, first.fields.previous_chain) == (2, 1, script.taken[PEOPLE][taken - 1].chain)


def test_resets_under_a_running_agent_lose_no_row_and_break_no_chain(agent: AgentProcess, script: Script) -> None:
    agent.start()
    stop = threading.Event()

    def write() -> None:
        number = 1
        while not stop.is_set():
            agent.insert(number, 3)
            number += 3

    writer = threading.Thread(target=write)
    writer.start()
    agent.until(lambda: len(script.rows(PEOPLE)) > 10)
    for _ in range(6):
        with closing(Outbox.open(agent.state, OutboxConfig(), check=False)) as outbox:
            epoch = outbox.reset(PEOPLE, who="ops", why="test").epoch
        time.sleep(0.4)
    stop.set()
    writer.join()
    with closing(sqlite3.connect(agent.home / "civil.db")) as connection:
        expected = [number for (number,) in connection.execute("SELECT id FROM people ORDER BY id")]
    agent.until(lambda: ids(script, epoch) == expected)
    assert epoch == 7
    batches = script.taken[PEOPLE]  # the script takes only what follows on the chain
    assert [batch.epoch for batch in batches] == sorted(batch.epoch for batch in batches)


def test_a_table_added_to_the_configuration_is_captured_without_a_restart(agent: AgentProcess, script: Script) -> None:
    agent.insert(1, 3)
    agent.start()
    agent.until(lambda: len(ids(script)) == 3 and bool(agent.status()))
    pid = agent.status()["pid"]
    agent.table("houses")
    agent.insert(1, 2, table="houses")
    agent.capture("people", "houses")
    houses = StreamName(DEPARTMENT, "civil", "houses")
    agent.until(lambda: ids(script, stream=houses) == [1, 2])
    agent.insert(4, 1)
    agent.until(lambda: len(ids(script)) == 4)
    assert agent.status()["pid"] == pid
    agent.capture("houses")
    agent.until(lambda: [stream["stream"] for stream in agent.status()["streams"]] == [str(houses)])
    assert agent.end() == 0


def test_a_refused_configuration_is_shown_and_the_last_good_one_stays_in_force(
    agent: AgentProcess, script: Script
) -> None:
    agent.start()
    agent.until(lambda: bool(agent.status()))
    good = agent.status()["configuration_hash"]
    file = agent.home / "sources.d" / "civil.toml"
    content = file.read_text()
    file.write_text(content + "nonsense = 1\n")
    agent.until(lambda: "nonsense" in agent.status()["configuration_refusal"])
    agent.insert(1, 1)
    agent.until(lambda: ids(script) == [1])
    assert agent.status()["configuration_hash"] == good
    file.write_text(content + "# mended\n")
    agent.until(lambda: agent.status()["configuration_refusal"] == "")
    assert agent.status()["configuration_hash"] != good


def test_systemd_is_told_of_readiness_progress_and_the_end(agent: AgentProcess, tmp_path: Path) -> None:
    name = f"\0forebay-test-{os.getpid()}-{tmp_path.name}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notified:
        notified.bind(name)
        notified.settimeout(30)
        agent.start({**os.environ, "NOTIFY_SOCKET": "@" + name[1:]})
        told = ""
        while told.count("WATCHDOG=1") < 2:
            told += notified.recv(4_096).decode() + "\n"
        assert told.index("READY=1") < told.index("WATCHDOG=1")
        assert "STATUS=" in told
        assert agent.process is not None
        agent.process.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in told:
            told += notified.recv(4_096).decode() + "\n"
    assert agent.ended() == 0


def test_the_collector_may_be_away_while_rows_are_captured(
    agent: AgentProcess, collector: ScriptedCollector, script: Script
) -> None:
    agent.hear_approvals()
    collector.stop()
    agent.insert(1, 50)
    agent.start()
    agent.until(lambda: agent.status().get("outbox", {}).get("batches", 0) > 0)
    agent.until(lambda: agent.status()["uplink"]["code"] == "FB-COLLECTOR-UNREACHABLE")
    assert agent.status()["uplink"]["remedy"]
    collector.start()
    agent.until(lambda: ids(script, epoch=1) == list(range(1, 51)))
    agent.until(lambda: agent.status()["outbox"]["batches"] == 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_on_a_full_disk_capture_waits_says_so_and_loses_nothing(
    tmp_path: Path, collector: ScriptedCollector, script: Script, small_disk: Path
) -> None:
    with AgentProcess(tmp_path / "agent", collector, state=small_disk / "state") as agent:
        agent.hear_approvals()
        collector.stop()
        source = agent.home / "sources.d" / "civil.toml"
        source.write_text("batch_rows = 1000\n" + source.read_text())
        with closing(sqlite3.connect(agent.home / "civil.db")) as connection, connection:
            noise = ((number, os.urandom(250).hex(), number) for number in range(1, 20_001))
            connection.executemany("INSERT INTO people VALUES (?, ?, ?)", noise)
        agent.start()
        agent.until(lambda: agent.stream()["code"] == "FB-OUTBOX-FULL")
        assert agent.stream()["state"] == "waiting"
        assert agent.status()["outbox"]["full"]
        collector.start()
        agent.until(lambda: len(script.rows(PEOPLE)) >= 20_000, 90)
        assert ids(script, epoch=1) == list(range(1, 20_001))
        agent.until(lambda: agent.stream()["state"] == "streaming")
        assert agent.end() == 0


@pytest.mark.parametrize("seed", [11, 12])
def test_kill_9_at_seeded_moments_neither_loses_nor_doubles_a_change(
    agent: AgentProcess, script: Script, seed: int
) -> None:
    draw = random.Random(seed)
    number = 1
    for _ in range(6):
        agent.start()
        for _ in range(draw.randint(1, 6)):
            count = draw.randint(1, 40)
            agent.insert(number, count)
            number += count
            time.sleep(draw.uniform(0.0, 0.25))
        script.answers = draw.random() < 0.6
        agent.end(signal.SIGKILL)
        script.answers = True
    agent.start()
    agent.until(lambda: ids(script, epoch=1) == list(range(1, number)))
