"""Verify with a real agent over a real database: planted differences are found by key, and none is invented."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.openings import Openings
from forebay_collector.control.ask import SILENT_AFTER

STREAM = "市监局/reg/main.enterprise"
KEYLESS = "市监局/reg/main.journal"
ROWS = 2_000
BIN = Path(sys.executable).parent


class Town:
    """A collector and one agent as processes; its source is one SQLite file, captured by cursor."""

    def __init__(self, folder: Path, key: str = "district, id") -> None:
        self.folder = folder
        self.key = key
        self.database = folder / "reg.db"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def found(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.run("init", "--address", f"127.0.0.1:{port}", "--approve", "auto", "--console", "127.0.0.1:0")
        with sqlite3.connect(self.database) as source:
            source.executescript(
                "PRAGMA journal_mode=WAL;"
                "CREATE TABLE enterprise (district TEXT, id INTEGER, name TEXT, capital NUMERIC, changed INTEGER,"
                f" PRIMARY KEY ({self.key})) WITHOUT ROWID;"
                "CREATE INDEX by_changed ON enterprise (changed);"
            )
            source.executemany(
                "INSERT INTO enterprise VALUES (?, ?, ?, ?, ?)",
                (("港北" if n % 2 else "覃塘", n, f"企业{n}", n / 4 if n % 7 else None, n) for n in range(ROWS)),
            )
        source.close()
        home = self.folder / "agent"
        (home / "sources.d").mkdir(parents=True)
        (home / "agent.toml").write_text(
            f'[agent]\nstate = "{home / "state"}"\n[collector]\nheartbeat = "1s"\n', "utf-8"
        )
        (home / "sources.d" / "reg.toml").write_text(
            f'kind = "sqlite"\npath = "{self.database}"\npoll_interval = "100ms"\n\n'
            '[[table]]\nname = "main.enterprise"\nmode = "cursor"\ncursor = "changed"\noverlap = 0\n',
            "utf-8",
        )
        self.start("collector", "forebay-collector", "--data", str(self.folder / "data"), "serve")
        token = self.folder / "a.token"
        self.run("token", "--department", "市监局", "--agent", "scjg-01", "--out", str(token))
        self.wait_for_port(port)
        subprocess.run(
            [str(BIN / "forebay-agent"), "--config", str(home), "enroll", str(token)],
            check=True,
            capture_output=True,
            timeout=60,
        )
        self.start("agent", "forebay-agent", "--config", str(home), "run")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "forebay-collector"), "--data", str(self.folder / "data"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    def start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen([BIN / command[0], *command[1:]], stdout=log, stderr=log)

    def wait_for_port(self, port: int) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(self.log("collector"))

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")[-4_000:]

    def verify(self, *more: str) -> tuple[int, dict[str, Any]]:
        """Waits first until the stream is known."""
        deadline = time.monotonic() + 40
        while True:
            done = self.run("verify", STREAM, "--json", *more)
            if done.returncode in (0, 1) and done.stdout:
                return done.returncode, json.loads(done.stdout)
            assert time.monotonic() < deadline, done.stderr + self.log("agent") + self.log("collector")
            time.sleep(0.2)

    def change(self, *statements: str) -> None:
        with sqlite3.connect(self.database, timeout=20) as source:
            for statement in statements:
                source.execute(statement)
        source.close()

    def end(self) -> None:
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    made = Town(tmp_path_factory.mktemp("town"))
    try:
        made.found()
        yield made
    finally:
        made.end()


def test_source_and_platform_are_equal_and_both_digests_say_so(town: Town) -> None:
    code, result = town.verify()
    assert code == 0
    assert result["equal"]
    assert result["source"] == result["platform"]
    assert result["source"]["rows"] == ROWS
    done = town.run("verify", STREAM)
    assert done.returncode == 0
    assert f"{STREAM}: equal" in done.stdout
    assert result["source"]["digest"] in done.stdout


# A folder that comes into being while watchdog begins to look is told of twice, and it warns of that.
@pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")
def test_a_second_run_over_an_unchanged_table_opens_no_file_of_rows(town: Town) -> None:
    town.change("UPDATE enterprise SET capital = 5, changed = 900000 WHERE id = 5")
    platform = town.folder / "data" / "platform"
    with Openings(platform) as first:
        _, result = town.verify()
    assert first.data("enterprise") > 0
    for _ in range(5):  # the loader may compact meanwhile: then that was no unchanged table
        with Openings(platform) as second:
            _, again = town.verify()
        if not second.data("enterprise"):
            break
    assert (second.data("enterprise"), again["platform"]) == (0, result["platform"])
    assert again["equal"]
    town.change("UPDATE enterprise SET capital = 6, changed = 900001 WHERE id = 5")
    with Openings(platform) as third:
        _, changed = town.verify()
    assert third.data("enterprise") > 0
    assert changed["platform"]["digest"] != again["platform"]["digest"]


def test_a_busy_writer_makes_no_difference(town: Town) -> None:
    over = threading.Event()

    def write() -> None:
        with sqlite3.connect(town.database, timeout=20) as source:
            moment = 1_000_000
            while not over.is_set():
                moment += 1
                number = moment % 40
                source.execute("UPDATE enterprise SET capital = ?, changed = ? WHERE id = ?", (moment, moment, number))
                source.commit()
                time.sleep(0.005)
        source.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        results = [town.verify() for _ in range(2)]
    finally:
        over.set()
        writer.join()
    for code, result in results:
        assert code == 0, result
        assert result["equal"]
    code, result = town.verify()
    assert (code, result["source"]) == (0, result["platform"])


def test_planted_differences_are_found_by_key_and_nothing_else(town: Town) -> None:
    """What the cursor cannot see: a delete, an update and an insert that leave the cursor column behind."""
    town.change(
        "DELETE FROM enterprise WHERE id = 101",
        "UPDATE enterprise SET name = '改名' WHERE id = 202",
        "INSERT INTO enterprise VALUES ('港南', 9000001, '新', NULL, -5)",
    )
    code, result = town.verify()
    assert code == 1
    assert not result["equal"]
    assert result["extra"] == [{"district": "港北", "id": "101"}]
    assert result["different"] == [{"district": "覃塘", "id": "202"}]
    assert result["missing"] == [{"district": "港南", "id": "9000001"}]
    assert result["in_flight"] == 0
    done = town.run("verify", "--all")
    assert done.returncode == 1
    assert "missing   district=港南, id=9000001" in done.stdout
    town.change(
        "INSERT INTO enterprise VALUES ('港北', 101, '又来', 1, 5000001)",
        "UPDATE enterprise SET changed = 5000002 WHERE id = 202",
        "UPDATE enterprise SET changed = 5000003 WHERE id = 9000001",
    )
    code, result = town.verify()
    assert (code, result["source"]) == (0, result["platform"])


def test_a_repair_sends_what_differs_through_the_chain_and_leaves_nothing(town: Town) -> None:
    town.change(
        "DELETE FROM enterprise WHERE id = 111",
        "UPDATE enterprise SET name = '又改' WHERE id = 222",
        "INSERT INTO enterprise VALUES ('港南', 9000002, '后来', NULL, -6)",
    )
    done = town.run("repair", STREAM, "--dry-run", "--json")
    assert done.returncode == 1, done.stderr
    planned = json.loads(done.stdout)
    assert planned["state"] == "planned"
    assert planned["keys"] == {
        "missing": [{"district": "港南", "id": "9000002"}],
        "extra": [{"district": "港北", "id": "111"}],
        "different": [{"district": "覃塘", "id": "222"}],
    }
    code, result = town.verify()
    assert (code, result["different_columns"]) == (1, [["name"]])
    done = town.run("repair", STREAM, "--why", "试")
    assert done.returncode == 0, done.stderr
    assert "sent=2 deleted=1 left=0" in done.stdout
    code, result = town.verify()
    assert (code, result["source"]) == (0, result["platform"])
    name = "main.enterprise_changes"
    query = f"SELECT id, _op, _position FROM \"{name}\" WHERE _position LIKE 'repair:%' ORDER BY id"
    rows = json.loads(town.run("sql", query.replace(f'"{name}"', "enterprise_changes"), "--format", "json").stdout)
    assert [(row["id"], row["_op"]) for row in rows] == [(111, "d"), (222, "u"), (9000002, "u")]
    entries = json.loads(town.run("audit", "--json").stdout)
    assert {"repair", "repaired"} <= {entry["action"] for entry in entries}


def test_a_verification_goes_on_over_a_restart_of_its_agent(town: Town) -> None:
    """It is asked for while the agent is away, and begins again what it was asked for when the agent went away."""
    agent = town.processes["agent"]
    agent.send_signal(signal.SIGKILL)
    agent.wait(30)
    told: list[subprocess.CompletedProcess[str]] = []
    asking = threading.Thread(target=lambda: told.append(town.run("verify", STREAM)))
    asking.start()
    time.sleep(1)
    town.start("agent", "forebay-agent", "--config", str(town.folder / "agent"), "run")
    asking.join(300)
    (done,) = told
    assert done.returncode == 0, done.stderr
    assert f"{STREAM}: equal" in done.stdout


def test_an_agent_that_was_stopped_is_unreachable(town: Town) -> None:
    agent = town.processes["agent"]
    agent.send_signal(signal.SIGKILL)
    agent.wait(30)
    began = time.monotonic()
    done = town.run("verify", STREAM)
    assert done.returncode == 4
    assert "scjg-01" in done.stderr
    assert "remedy:" in done.stderr
    assert time.monotonic() - began < SILENT_AFTER.total_seconds()  # its connection's end is what tells
    town.start("agent", "forebay-agent", "--config", str(town.folder / "agent"), "run")
    code, _ = town.verify()
    assert code == 0
