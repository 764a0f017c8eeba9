"""`forebay-agent setup` as an operator runs it: by flags, and at a terminal; a real collector, a real database."""

from __future__ import annotations

import os
import pty
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from forebay_agent import identity
from forebay_agent.config.load import load
from forebay_collector.founding import init
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.token import make_token
from tests.receiving.batches import DEPARTMENT
from tests.receiving.collector import InProcess
from tests.servers.mariadb import MariaDB

PROGRAM = Path(sys.executable).with_name("forebay-agent")


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(init(tmp_path / "collector", ["127.0.0.1:0"], "auto")) as running:
        yield running


@pytest.fixture
def token(collector: InProcess, tmp_path: Path) -> Path:
    made = make_token(
        collector.ledger,
        Authority.load(collector.settings.data.identity),
        agent="scjg-01",
        department=DEPARTMENT,
        addresses=[collector.address],
        who="root",
        life=timedelta(hours=1),
    )
    file = tmp_path / "join.token"
    file.write_text(made.to_text() + "\n")
    return file


@pytest.fixture
def sqlite(tmp_path: Path) -> Path:
    path = tmp_path / "civil.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE marriage (id INTEGER PRIMARY KEY, changed TEXT NOT NULL);"
        "CREATE INDEX marriage_changed ON marriage (changed);"
        "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT);"
        "CREATE VIEW adults AS SELECT id FROM person"
    )
    connection.close()
    return path


def setup(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PROGRAM, "--config", home, "setup", "--state", home / "state", "--no-start", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_flags_alone_make_a_configuration_that_is_enrolled(tmp_path: Path, token: Path, sqlite: Path) -> None:
    home = tmp_path / "agent"
    flags = ("--token", token, "--source", "civil", "--kind", "sqlite", "--path", sqlite)
    done = setup(home, *flags, "--table", "person:snapshot", "--table", "marriage:cursor:changed")
    assert done.returncode == 0, done.stderr
    (source,) = load(home).sources
    assert [(table.name, table.mode, table.cursor) for table in source.tables] == [
        ("person", "snapshot", ""),
        ("marriage", "cursor", "changed"),
    ]
    assert identity.load(home / "state").agent == "scjg-01"
    checked = subprocess.run([PROGRAM, "--config", home, "check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_without_a_line_it_writes_the_configuration_and_the_request(tmp_path: Path, token: Path, sqlite: Path) -> None:
    home, disk = tmp_path / "agent", tmp_path / "disk"
    disk.mkdir()
    flags = ("--token", token, "--export", disk, "--collector", "127.0.0.1:1", "--source", "civil", "--kind", "sqlite")
    done = setup(home, *flags, "--path", sqlite, "--table", "person:snapshot")
    assert done.returncode == 0, done.stderr
    assert [table.name for source in load(home).sources for table in source.tables] == ["person"]
    assert [path.name for path in disk.iterdir()] == ["enroll-scjg-01.ferry"]
    assert "then `forebay-agent enroll --answer DIR` here" in done.stdout
    assert not (home / "state" / identity.FOLDER).exists()


def test_a_password_stands_in_a_file_of_its_own_and_is_never_said(
    tmp_path: Path, token: Path, mariadb: MariaDB
) -> None:
    home = tmp_path / "agent"
    mariadb.execute("CREATE OR REPLACE DATABASE setting_up", "CREATE TABLE setting_up.orders (id INT PRIMARY KEY)")
    password = tmp_path / "password"
    password.write_text(mariadb.password + "\n")
    flags = ("--token", token, "--source", "civil", "--kind", "mysql", "--port", str(mariadb.port))
    access = ("--host", "127.0.0.1", "--database", "setting_up", "--user", mariadb.user, "--password-file", password)
    done = setup(home, *flags, *access, "--table", "orders")
    assert done.returncode == 0, done.stdout + done.stderr
    (source,) = load(home).sources
    assert source.password is not None
    assert source.password.reveal() == mariadb.password
    assert source.tables[0].mode == "log"  # what the database offers best, without being asked
    secret = home / "secrets" / "civil"
    assert secret.stat().st_mode & 0o777 == 0o640
    written = "".join(file.read_text() for file in home.rglob("*.toml"))
    assert mariadb.password not in written + done.stdout + done.stderr


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        (("--token", "nowhere.token"), 3, "nowhere.token"),
        (("--collector", "127.0.0.1:1"), 4, "127.0.0.1:1"),
        (("--path", "nowhere.db"), 4, "nowhere.db"),
        (("--table", "nobody:snapshot"), 3, "nobody"),
        (("--table", "person:cursor"), 3, "person:cursor"),
    ],
    ids=["token", "collector", "database", "table", "cursor without a column"],
)
def test_a_wrong_answer_is_named_with_a_remedy_and_nothing_is_written(
    tmp_path: Path, token: Path, sqlite: Path, wrong: tuple[str, str], code: int, said: str
) -> None:
    home = tmp_path / "agent"
    flags = {"--token": str(token), "--source": "civil", "--kind": "sqlite", "--path": str(sqlite)}
    flags |= {"--table": "person:snapshot"} | dict([wrong])
    done = setup(home, *(part for pair in flags.items() for part in pair))
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
    assert "remedy:" in done.stderr
    assert not list(tmp_path.glob("agent/**/*.toml"))
    # the token is not spent
    right = setup(
        home, "--token", token, "--source", "civil", "--kind", "sqlite", "--path", sqlite, "--table", "person:snapshot"
    )
    assert right.returncode == 0, right.stderr


def test_where_nobody_can_be_asked_the_missing_flag_is_named(tmp_path: Path, token: Path) -> None:
    done = setup(tmp_path / "agent", "--token", token)
    assert done.returncode == 2
    assert "--source" in done.stderr


def test_a_second_source_joins_what_is_there(tmp_path: Path, token: Path, sqlite: Path) -> None:
    home = tmp_path / "agent"
    common = ("--kind", "sqlite", "--path", sqlite, "--table", "person:snapshot")
    assert setup(home, "--token", token, "--source", "civil", *common).returncode == 0
    before = (home / "agent.toml").read_bytes()
    assert setup(home, "--source", "registry", *common).returncode == 0
    assert [source.name for source in load(home).sources] == ["civil", "registry"]
    assert (home / "agent.toml").read_bytes() == before
    again = setup(home, "--source", "registry", *common)
    assert again.returncode == 3
    assert "registry.toml" in again.stderr


class Terminal:
    """The program at a terminal: `answer` waits for a question and types."""

    def __init__(self, *command: str | Path) -> None:
        self.said = ""
        self._pid, self._terminal = pty.fork()
        if not self._pid:
            os.execv(command[0], [str(part) for part in command])

    def answer(self, question: str, text: str) -> None:
        self._read_until(question)
        os.write(self._terminal, text.encode() + b"\n")

    def end(self) -> int:
        self._read_until("")
        _, status = os.waitpid(self._pid, 0)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status)

    def _read_until(self, question: str) -> None:
        """Empty: until it closes. What was answered already does not count."""
        heard = ""
        deadline = time.monotonic() + 60
        while not question or question not in heard:
            assert time.monotonic() < deadline, f"not asked: {question}; said: {self.said}"
            if not select.select([self._terminal], [], [], 1.0)[0]:
                continue
            try:
                part = os.read(self._terminal, 4096).decode("utf-8", "replace")
            except OSError:  # the program has ended
                part = ""
            if not part:
                assert not question, f"ended before it asked: {question}; said: {self.said}"
                return
            heard += part
            self.said += part


def test_at_a_terminal_it_asks_offers_the_tables_and_asks_again(
    tmp_path: Path, token: Path, sqlite: Path, collector: InProcess
) -> None:
    home = tmp_path / "agent"
    terminal = Terminal(PROGRAM, "--config", home, "setup", "--state", home / "state", "--no-start")
    terminal.answer("token", str(tmp_path / "nowhere.token"))
    terminal.answer("token:", str(token))
    terminal.answer(f"collector's address [{collector.address}]", "127.0.0.1:1")
    terminal.answer(f"collector's address [{collector.address}]", "")
    terminal.answer("name for the database", "civil")
    terminal.answer("kind of the database", "3")
    terminal.answer("database's file", str(sqlite))
    terminal.answer("tables to share", "9")
    terminal.answer("tables to share", "2 3")
    code = terminal.end()
    assert code == 0, terminal.said
    assert "remedy:" in terminal.said  # of the two wrong answers
    (source,) = load(home).sources
    assert [table.name for table in source.tables] == ["marriage", "person"]
    assert identity.load(home / "state").department == DEPARTMENT
