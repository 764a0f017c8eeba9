"""The agent's commands as an operator runs them: real processes, a real collector, a real daemon."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forebay_agent import cli
from forebay_agent.cli import status
from forebay_agent.errors import SourceUnreachable
from forebay_collector.founding import init
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.token import make_token
from tests.receiving.batches import DEPARTMENT
from tests.receiving.collector import InProcess

PROGRAM = Path(sys.executable).with_name("forebay-agent")
STREAM = f"{DEPARTMENT}/civil/people"
COMMANDS = (
    "setup",
    "doctor",
    "diagnostics",
    "enroll",
    "check",
    "tables",
    "run",
    "status",
    "outbox",
    "snapshot",
    "reset",
)


def agent(home: Path, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PROGRAM, "--config", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        input=said,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def answer(home: Path, *arguments: str) -> Any:
    """What a listing says as JSON."""
    return json.loads(agent(home, *arguments, "--json").stdout)


def until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 40
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A configuration with one SQLite table, not enrolled yet."""
    home = tmp_path / "agent"
    (home / "sources.d").mkdir(parents=True)
    connection = sqlite3.connect(home / "civil.db")
    connection.executescript(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, photo BLOB, changed TEXT NOT NULL);"
        "CREATE INDEX people_changed ON people (changed);"
        "INSERT INTO people VALUES (1, '欧阳修', NULL, '2025-01-01 00:00:00')"
    )
    connection.close()
    (home / "agent.toml").write_text('[agent]\nstate = "state"\n[outbox]\ncap = "64MiB"\nfree_disk = "1MiB"\n')
    (home / "sources.d" / "civil.toml").write_text(
        'kind = "sqlite"\npath = "../civil.db"\npoll_interval = "100ms"\n'
        '[[table]]\nname = "people"\nmode = "cursor"\ncursor = "changed"\nexclude = ["photo"]\n'
        'masks = { name = "name" }\n'
    )
    return home


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as running:
        yield running


@pytest.fixture
def token(collector: InProcess, home: Path) -> Path:
    """A token's file for agent civil-1 of the collector."""
    made = make_token(
        collector.ledger,
        Authority.load(collector.settings.data.identity),
        agent="civil-1",
        department=DEPARTMENT,
        addresses=[collector.address],
        who="root",
        life=timedelta(hours=1),
    )
    file = home / "join.token"
    file.write_text(made.to_text())
    return file


@contextmanager
def daemon(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    log = home / "log"
    with log.open("ab") as stream:
        process = subprocess.Popen([PROGRAM, "--config", str(home), "run"], stderr=stream)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_from_a_token_to_a_running_agent_and_back_every_command_tells_the_truth(
    home: Path, collector: InProcess, token: Path
) -> None:
    before = agent(home, "status")
    assert (before.returncode, "has not run" in before.stderr) == (1, True)
    assert answer(home, "tables")[0]["stream"] == "DEPARTMENT/civil/people"
    enrolled = agent(home, "enroll", str(token))
    assert enrolled.returncode == 0, enrolled.stderr
    assert f"agent civil-1 of department {DEPARTMENT}" in enrolled.stdout
    checked = agent(home, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{collector.address} answers" in checked.stdout
    assert answer(home, "tables")[0]["stream"] == STREAM

    with daemon(home) as process:
        until(lambda: agent(home, "status").returncode == 0, "the agent does not run")
        until(lambda: answer(home, "status")["streams"][0]["durable_seq"] > 0, "nothing was sent")
        running = answer(home, "status")
        assert (running["running"], running["pid"], running["department"]) == (True, process.pid, DEPARTMENT)
        assert running["streams"][0]["stream"] == STREAM
        until(lambda: answer(home, "outbox")[0]["batches"] == 0, "the outbox is not emptied")
        shown = agent(home, "status").stdout
        assert STREAM in shown
        assert f"connected to {collector.address}" in shown

        reset = agent(home, "reset", STREAM, "--reason", "the table was rebuilt", "--yes")
        assert (reset.returncode, reset.stdout) == (0, f"{STREAM}: epoch 2 begins\n")
        until(lambda: answer(home, "status")["streams"][0]["epoch"] == 2, "the running agent did not see the reset")

    stopped = agent(home, "status")
    assert stopped.returncode == 1
    assert f"DOES NOT RUN: process {process.pid} has ended" in stopped.stdout
    (audited,) = answer(home, "outbox", "--resets")
    assert (audited["stream"], audited["new_epoch"], audited["why"]) == (STREAM, 2, "the table was rebuilt")


def test_a_token_is_refused_the_second_time_and_never_shown(home: Path, token: Path) -> None:
    assert agent(home, "enroll", "-", said=token.read_text()).returncode == 0
    again = agent(home, "enroll", str(token))
    assert again.returncode == 4
    assert "remedy:" in again.stderr
    assert token.read_text().strip()[5:40] not in again.stdout + again.stderr


@pytest.mark.parametrize("text", ["", "not a token", "fbt1.AAAA"])
def test_what_is_no_token_is_refused_with_a_remedy(home: Path, text: str) -> None:
    refused = agent(home, "enroll", "-", said=text)
    assert refused.returncode == 4
    assert "not a token" in refused.stderr
    assert "Ask the centre for a new token" in refused.stderr


def test_a_token_file_that_is_not_there_is_a_usage_error(home: Path) -> None:
    refused = agent(home, "enroll", str(home / "none"))
    assert (refused.returncode, "No such file" in refused.stderr) == (2, True)


def test_tables_shows_the_exact_sql_and_never_selects_what_is_left_out(home: Path) -> None:
    (plan,) = answer(home, "tables", "civil")
    assert plan["key"] == ["id"]
    assert plan["excluded"] == ["photo"]
    assert {column["name"]: column["mask"] for column in plan["columns"]} == {"id": "", "name": "name", "changed": ""}
    assert len(plan["sql"]) == 2
    assert not any("photo" in statement or "*" in statement for statement in plan["sql"])
    connection = sqlite3.connect(home / "civil.db")
    assert [connection.execute(statement).fetchall() for statement in plan["sql"]] == [
        [(1, "欧阳修", "2025-01-01 00:00:00")]
    ] * 2
    connection.close()
    shown = agent(home, "tables").stdout
    assert all(statement in shown for statement in plan["sql"])
    assert "masked as name" in shown


def test_what_does_not_run_is_told_from_a_file_left_by_a_process_that_hangs(home: Path, tmp_path: Path) -> None:
    state = home / "state"
    state.mkdir()
    hanging = subprocess.Popen(["/bin/sleep", "60"])
    try:
        told = {
            "pid": hanging.pid,
            "written_at_us": int((time.time() - status.STALE_SECONDS - 5) * 1e6),
            "started_at_us": 1,
            "agent": "a",
            "department": "d",
            "configuration_hash": "",
            "configuration_refusal": "x.toml: table[1].moed: unknown key",
            "uplink": {"connected": False, "address": "", "since_us": 0, "code": "", "reason": "", "remedy": ""},
            "outbox": {"batches": 0, "bytes": 0, "cap_bytes": 1, "disk_free_bytes": 1, "full": False},
            "streams": [],
        }
        (state / "status.json").write_text(json.dumps(told))
        shown = agent(home, "status")
    finally:
        hanging.kill()
        hanging.wait()
    assert shown.returncode == 1
    assert "DOES NOT RUN: it has written no status for" in shown.stdout
    assert "table[1].moed" in shown.stdout


def test_reset_asks_before_it_acts_and_knows_its_streams(home: Path) -> None:
    from forebay_agent.config.model import OutboxConfig
    from forebay_agent.outbox import Outbox
    from forebay_wire.stream import StreamName

    missing = agent(home, "reset", STREAM, "--reason", "x", "--yes")
    assert (missing.returncode, "has not run" in missing.stderr) == (1, True)
    assert not (home / "state").exists()
    (home / "state").mkdir()
    outbox = Outbox.open(home / "state", OutboxConfig(cap=1 << 20, free_disk=0))
    outbox.stream(StreamName.parse(STREAM))
    unasked = agent(home, "reset", STREAM, "--reason", "x")
    assert (unasked.returncode, "--yes" in unasked.stderr) == (2, True)
    other = agent(home, "reset", STREAM + "s", "--reason", "x", "--yes")
    assert (other.returncode, f"known:  {STREAM}\n" in other.stderr) == (1, True)
    assert agent(home, "reset", "people", "--reason", "x", "--yes").returncode == 2
    assert agent(home, "reset", STREAM, "--yes").returncode == 2
    assert agent(home, "reset", STREAM, "--reason", " ", "--yes").returncode == 2
    assert outbox.stream(StreamName.parse(STREAM)).epoch == 1
    outbox.close()


def test_looking_at_a_running_agents_outbox_never_takes_its_log_away(home: Path) -> None:
    """A second process that ends its connection must not think itself the last one: it would delete the log."""
    from forebay_agent.config.model import OutboxConfig
    from forebay_agent.outbox import Outbox
    from forebay_wire.stream import StreamName

    (home / "state").mkdir()
    outbox = Outbox.open(home / "state", OutboxConfig(cap=1 << 20, free_disk=0))
    outbox.stream(StreamName.parse(STREAM))
    reader = outbox.reader()
    assert len(answer(home, "outbox")) == 1
    outbox.stream(StreamName.parse(STREAM + "2"))
    assert [row["stream"] for row in answer(home, "outbox")] == [STREAM, STREAM + "2"]
    reset = agent(home, "reset", STREAM, "--reason", "x", "--yes")
    assert reset.returncode == 0, reset.stderr
    assert outbox.stream(StreamName.parse(STREAM)).epoch == 2
    assert [stream.epoch for stream in reader.streams()] == [2, 1]
    reader.close()
    outbox.close()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "examples:" in said
    assert f"forebay-agent {command}" in said or command == "run"
    assert max(len(line) for line in said.splitlines()) <= 125


@pytest.mark.parametrize("arguments", [[], ["chekc"], ["check", "--jsn"], ["reset"], ["check", "--json", "--sql"]])
def test_a_wrong_command_line_ends_with_2_and_one_remedy(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "--help" in said


def test_ctrl_c_ends_with_130_and_one_line(home: Path) -> None:
    with socket.socket() as silent:  # takes the connection and never says a word
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        (home / "sources.d" / "civil.toml").write_text(
            f'kind = "mysql"\nport = {silent.getsockname()[1]}\nuser = "u"\nconnect_timeout = "60s"\n'
            '[[table]]\nname = "a.b"\nmode = "snapshot"\n'
        )
        process = subprocess.Popen(
            [PROGRAM, "--config", str(home), "check", "civil"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)
        connection.close()
    assert (process.returncode, *said) == (130, "", "interrupted\n")


def test_an_unexpected_error_is_one_line_without_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: object) -> int:
        raise RuntimeError("row 11010519491231002X of 张三")

    monkeypatch.setattr(status, "run", fail)
    assert cli.main(["status"]) == 1
    said = capsys.readouterr().err
    assert said == "error: RuntimeError, which is unexpected; run with --debug for the trace\n"
    with pytest.raises(RuntimeError):
        cli.main(["--debug", "status"])
    with pytest.raises(RuntimeError):
        cli.main(["status", "--debug"])


def test_an_error_of_a_known_kind_tells_what_why_remedy_and_sql(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: object) -> int:
        raise SourceUnreachable("127.0.0.1:1: refused\x1b[31m", sql="GRANT a;\nGRANT b;")

    monkeypatch.setattr(status, "run", fail)
    assert cli.main(["status"]) == 4
    assert capsys.readouterr().err.splitlines() == [
        "error: The database cannot be reached",
        "  why:    127.0.0.1:1: refused\\x1b[31m",
        "  remedy: Check address and port, that the database runs, and the firewall between.",
        "  SQL:    GRANT a;",
        "          GRANT b;",
    ]


def test_a_reader_that_has_seen_enough_ends_the_listing_quietly(home: Path) -> None:
    process = subprocess.Popen(
        [PROGRAM, "--config", str(home), "tables", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 0
