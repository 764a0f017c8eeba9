"""A wrong configuration gives file, key, reason and remedy, exit code 3 or 4, no traceback and no secret.

Every case is a real `forebay-agent` process over real files and, where privileges and passwords matter, real servers.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

SECRET = "hunter2-never-shown"
AGENT = '[agent]\nstate = "state"\n[collector]\naddresses = ["127.0.0.1:1"]\n'
SQLITE = 'kind = "sqlite"\npath = "../civil.db"\n'
PASSWORD = 'password = { file = "../secret" }\n'
SERVER = 'kind = "postgresql"\nuser = "forebay"\ndatabase = "civil"\n' + PASSWORD


def table(name: str, *lines: str, mode: str = "snapshot") -> str:
    return "\n".join(["[[table]]", f'name = "{name}"', f'mode = "{mode}"', *lines, ""])


@dataclass(frozen=True)
class Case:
    """What is written, and what must be said of it. `key`: empty where the file as a whole is at fault."""

    name: str
    says: str
    key: str = ""
    source: str = SQLITE + table("people")
    agent: str = AGENT
    file: str = "sources.d/civil.toml"
    code: int = 3
    others: dict[str, str] = field(default_factory=dict)


CASES = (
    Case("a typo in a key", "did you mean `outbox`", "outbx", agent=AGENT + "[outbx]\n", file="agent.toml"),
    Case("a typo in a table's key", "did you mean `exclude`", "table[1].exlude", SQLITE + table("people", "exlude = []")),
    Case("a missing setting", "is missing", "agent.state", agent="[agent]\n", file="agent.toml"),
    Case("invalid TOML", "line 1, column", source=SQLITE.replace("= ", "", 1)),
    Case("a setting of the wrong type", "is a text", "batch_rows", SQLITE + 'batch_rows = "many"\n' + table("people")),
    Case("a bad duration", "cannot be read", "poll_interval", SQLITE + 'poll_interval = "15"\n' + table("people")),
    Case("a bad size", "cannot be read", "outbox.cap", agent=AGENT + '[outbox]\ncap = "lots"\n', file="agent.toml"),
    Case(
        "a port out of range",
        "from 1 to 65535",
        "collector.addresses",
        agent=AGENT.replace(":1\"", ":65536\""),
        file="agent.toml",
    ),
    Case("an unknown kind", "did you mean `mysql`", "kind", 'kind = "mariadb"\n' + table("people")),
    Case("an unknown mode", "did you mean `cursor`", "table[1].mode", SQLITE + table("people", mode="curser")),
    Case("an unknown mask", "there is no mask", "table[1].masks.a", SQLITE + table("people", 'masks = { a = "idcard" }')),
    Case(
        "a mask on a configured key",
        "cannot be masked",
        "table[1].masks.id_no",
        SQLITE + table("people", 'key = ["id_no"]', 'masks = { id_no = "citizen_id" }'),
    ),
    Case(
        "a mask on the primary key",
        "cannot be masked",
        "table[1].masks",
        SQLITE + table("people", 'masks = { id = "citizen_id" }'),
    ),
    Case(
        "a mask on a column that is not there",
        "does not have",
        "table[1].masks",
        SQLITE + table("people", 'masks = { id_card = "citizen_id" }'),
    ),
    Case("a missing table", "peple", "table[1].name", SQLITE + table("peple")),
    Case(
        "a table without a key",
        "no primary key",
        "table[1].key",
        SQLITE + table("keyless", 'cursor = "changed"', mode="cursor"),
    ),
    Case("a cursor without a column", "is missing", "table[1].cursor", SQLITE + table("people", mode="cursor")),
    Case(
        "a cursor column that is not there",
        "does not have",
        "table[1].cursor",
        SQLITE + table("people", 'cursor = "updated_at"', mode="cursor"),
    ),
    Case(
        "a cursor column that is left out",
        "never read",
        "table[1].cursor",
        SQLITE + table("people", 'cursor = "changed"', 'exclude = ["changed"]', mode="cursor"),
    ),
    Case(
        "a column to share that is not there",
        "does not have",
        "table[1].columns",
        SQLITE + table("people", 'columns = ["id", "fullname"]'),
    ),
    Case(
        "a column to leave out that is not there",
        "does not have",
        "table[1].exclude",
        SQLITE + table("people", 'exclude = ["potho"]'),
    ),
    Case("a duplicate stream", "duplicate stream", "table[2].name", SQLITE + table("people") + table("main.people")),
    Case(
        "a duplicate source",
        "is also the name of",
        "name",
        file="sources.d/twin.toml",
        others={"twin": 'name = "civil"\n' + SQLITE + table("people")},
    ),
    Case("triggers that are not installed", "not installed", "table[1].install", SQLITE + table("people", mode="trigger")),
    Case("a literal password", "never stands in the file", "password", SERVER.replace(PASSWORD, f'password = "{SECRET}"\n') + table("people")),
    Case("a missing secret file", "cannot be read", "password.file", SERVER.replace("../secret", "../no-such") + table("people")),
    Case("a secret that everybody can read", "readable by every user", "password.file", SERVER.replace("../secret", "../open") + table("people")),
    Case("a secret in a host name", "is not a host name", "host", SERVER + f'host = "forebay:{SECRET}@db"\n' + table("people")),
    Case("a missing CA", "cannot be read", "tls_ca", SERVER + 'tls = "verify"\ntls_ca = "ca.pem"\n' + table("people")),
    Case("a missing database file", "no-such.db", "path", SQLITE.replace("civil.db", "no-such.db") + table("people"), code=4),
    Case("a database file that is none", "not a database", "path", SQLITE.replace("civil.db", "none.db") + table("people"), code=4),
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a real SQLite database and two secret files, one of them open to everybody."""
    (tmp_path / "sources.d").mkdir()
    connection = sqlite3.connect(tmp_path / "civil.db")
    connection.executescript(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, id_no TEXT NOT NULL, photo BLOB, changed TEXT);"
        "CREATE TABLE keyless (a TEXT, changed TEXT);"
        f"INSERT INTO people VALUES (1, '{SECRET}', NULL, '2025-01-01')"
    )
    connection.close()
    (tmp_path / "none.db").write_text(SECRET * 300)
    for name, mode in (("secret", 0o600), ("open", 0o644)):
        (tmp_path / name).write_text(SECRET + "\n")
        (tmp_path / name).chmod(mode)
    return tmp_path


def write(home: Path, source: str, agent: str = AGENT, **others: str) -> None:
    (home / "agent.toml").write_text(agent, "utf-8")
    for name, text in {"civil": source, **others}.items():
        (home / "sources.d" / f"{name}.toml").write_text(text, "utf-8")


@dataclass(frozen=True)
class Outcome:
    code: int
    text: str


def agent(home: Path, *arguments: str) -> Outcome:
    """Runs the installed program; whatever it says must hold no trace and no secret."""
    program = Path(sys.executable).with_name("forebay-agent")
    done = subprocess.run(
        [program, "--config", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LANG": "C.UTF-8"},
    )
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    assert "unexpected" not in text
    assert SECRET not in text
    return Outcome(done.returncode, text)


def must_say(outcome: Outcome, code: int, *parts: str) -> None:
    assert outcome.code == code, outcome.text
    for part in (*parts, "remedy:"):
        assert part in outcome.text, f"{part!r} is not in:\n{outcome.text}"


def test_the_configuration_that_the_cases_spoil_is_a_good_one(home: Path) -> None:
    write(home, SQLITE + table("people"))
    outcome = agent(home, "check", "civil")
    assert outcome.code == 0, outcome.text
    assert "connected to" in outcome.text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_wrong_configuration_names_file_key_reason_and_remedy(home: Path, case: Case) -> None:
    write(home, case.source, case.agent, **case.others)
    place = f"{home / case.file}: {case.key}" if case.key else str(home / case.file)
    must_say(agent(home, "check", "civil"), case.code, place, case.says)


def test_run_refuses_what_check_refuses(home: Path) -> None:
    write(home, SQLITE + table("people", mode="curser"))
    must_say(agent(home, "run"), 3, f"{home}/sources.d/civil.toml: table[1].mode", "did you mean `cursor`")


def test_a_file_that_is_not_utf8_is_named(home: Path) -> None:
    write(home, SQLITE + table("people"))
    (home / "sources.d" / "civil.toml").write_bytes("# 民政局\n".encode("gb18030"))
    must_say(agent(home, "check"), 3, f"{home}/sources.d/civil.toml", "not UTF-8")


def test_a_folder_without_configuration_is_named(tmp_path: Path) -> None:
    must_say(agent(tmp_path, "check"), 3, f"{tmp_path}/agent.toml", "cannot be read")


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_state_folder_that_cannot_be_written_is_named(home: Path, command: str) -> None:
    write(home, SQLITE + table("people"))
    (home / "state").write_text("a file in its place")
    must_say(agent(home, command), 3, f"{home}/state", "cannot be written", "`[agent] state` in agent.toml")


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_missing_certificate_says_how_to_enrol(home: Path, command: str) -> None:
    write(home, SQLITE + table("people"))
    must_say(agent(home, command), 4, f"{home}/state/identity", "not enrolled", "forebay-agent enroll")


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_damaged_certificate_is_named(home: Path, command: str) -> None:
    write(home, SQLITE + table("people"))
    identity = home / "state" / "identity"
    identity.mkdir(parents=True)
    for name in ("agent.key", "agent.pem", "authority.pem"):
        (identity / name).write_text(f"no certificate: {SECRET}")
    (identity / "identity.json").write_text('{"agent": "a", "department": "d", "addresses": ["127.0.0.1:1"]}')
    must_say(agent(home, command), 4, str(identity), "cannot be read")


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
def test_a_server_that_cannot_be_reached_is_named(home: Path, kind: str) -> None:
    with socket.socket() as taken:  # bound and never listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        write(home, SERVER.replace("postgresql", kind) + f"port = {port}\n" + table("civil.people"))
        must_say(agent(home, "check", "civil"), 4, f"{home}/sources.d/civil.toml: host", str(port), "firewall")


@pytest.fixture
def mariadb_source(mariadb: MariaDB, home: Path) -> Iterator[str]:
    """A database with a table and a user who may see one other table of it; the lines of its source's file."""
    statements = (
        "DROP DATABASE IF EXISTS wrongly",
        "CREATE DATABASE wrongly",
        "CREATE TABLE wrongly.people (id int PRIMARY KEY, name varchar(20), changed datetime(6))",
        "CREATE TABLE wrongly.open (id int PRIMARY KEY, changed datetime(6))",
        f"CREATE OR REPLACE USER wrongly@'%' IDENTIFIED BY '{SECRET}'",
        "GRANT SELECT ON wrongly.open TO wrongly@'%'",
    )
    connection = mariadb.connect()
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    yield (
        f'kind = "mysql"\nhost = "127.0.0.1"\nport = {mariadb.port}\nuser = "wrongly"\ndatabase = "wrongly"\n{PASSWORD}'
    )
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE wrongly")
        cursor.execute("DROP USER wrongly@'%'")
    connection.close()


@pytest.fixture
def postgresql_source(postgresql: PostgreSQL, home: Path) -> Iterator[str]:
    """As `mariadb_source`."""
    postgresql.execute("DROP DATABASE IF EXISTS wrongly")
    postgresql.create_database("wrongly")
    postgresql.execute("DROP ROLE IF EXISTS wrongly", f"CREATE ROLE wrongly LOGIN PASSWORD '{SECRET}'")
    postgresql.execute(
        "CREATE TABLE people (id int PRIMARY KEY, name text, changed timestamp)",
        "CREATE TABLE open (id int PRIMARY KEY, changed timestamp)",
        "GRANT SELECT ON open TO wrongly",
        database="wrongly",
    )
    yield (
        f'kind = "postgresql"\nhost = "127.0.0.1"\nport = {postgresql.port}\nuser = "wrongly"\ndatabase = "wrongly"\n'
        f"{PASSWORD}"
    )
    postgresql.execute("DROP DATABASE wrongly WITH (FORCE)", "DROP ROLE wrongly")


@pytest.fixture(params=["mariadb", "postgresql"])
def server_source(request: pytest.FixtureRequest) -> str:
    source: str = request.getfixturevalue(f"{request.param}_source")
    return source


def test_a_server_source_that_is_right_is_fine(home: Path, server_source: str) -> None:
    write(home, server_source + table("open"))
    outcome = agent(home, "check", "civil")
    assert outcome.code == 0, outcome.text


def test_a_wrong_password_is_told_without_showing_it(home: Path, server_source: str) -> None:
    (home / "secret").write_text(SECRET + "-but-wrong")
    write(home, server_source + table("open"))
    must_say(agent(home, "check", "civil"), 4, f"{home}/sources.d/civil.toml: password", "wrongly")


def test_an_unknown_user_is_told(home: Path, server_source: str) -> None:
    write(home, server_source.replace('user = "wrongly"', 'user = "nobody_here"') + table("open"))
    must_say(agent(home, "check", "civil"), 4, f"{home}/sources.d/civil.toml", "nobody_here")


def test_an_unknown_database_is_told(home: Path, server_source: str) -> None:
    write(home, server_source.replace('database = "wrongly"', 'database = "elsewhere"') + table("open"))
    outcome = agent(home, "check", "civil")
    assert outcome.code in (3, 4)
    must_say(outcome, outcome.code, f"{home}/sources.d/civil.toml", "elsewhere")


def test_a_missing_privilege_comes_with_the_grant(home: Path, server_source: str) -> None:
    write(home, server_source + table("people"))
    outcome = agent(home, "check", "civil")
    must_say(outcome, 4, f"{home}/sources.d/civil.toml: table[1]", "people", "SQL:", "GRANT SELECT")
    statements = agent(home, "check", "civil", "--sql")
    assert "GRANT SELECT" in statements.text
    assert statements.text.rstrip().endswith(";")


def test_a_table_missing_on_a_server_is_told(home: Path, server_source: str) -> None:
    write(home, server_source + table("open") + table("missing_one"))
    outcome = agent(home, "check", "civil")
    assert outcome.code in (3, 4)
    must_say(outcome, outcome.code, f"{home}/sources.d/civil.toml: table[2]", "missing_one")


def test_encryption_that_the_server_does_not_offer_is_told(home: Path, server_source: str) -> None:
    write(home, server_source + 'tls = "verify"\n' + table("open"))
    must_say(agent(home, "check", "civil"), 4, f"{home}/sources.d/civil.toml", "SSL")


def test_one_table_at_fault_does_not_hide_the_others(home: Path) -> None:
    write(home, SQLITE + table("peple") + table("people"))
    outcome = agent(home, "check", "civil")
    must_say(outcome, 3, "civil/peple", "table[1].name")
    assert "ok       civil/people" in outcome.text
