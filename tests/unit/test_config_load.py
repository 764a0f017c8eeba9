"""A configuration is valid as a whole, or refused with file, key, reason and remedy for everything that is wrong."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from forebay_agent.config import model
from forebay_agent.config.load import load, load_agent
from forebay_agent.config.model import MaskConfig
from forebay_agent.config.secret import Secret
from forebay_agent.errors import ConfigurationError

AGENT = '[agent]\nstate = "state"\n[collector]\naddresses = ["centre.example:7443"]\n'
TABLE = '[[table]]\nname = "people"\nmode = "snapshot"\n'
SQLITE = 'kind = "sqlite"\npath = "civil.db"\n'
SERVER = 'kind = "postgresql"\nuser = "forebay"\ndatabase = "civil"\n'

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration folder: `agent` and, by name, the sources' files."""

    def write(agent: str = AGENT, **sources: str) -> Path:
        (tmp_path / "sources.d").mkdir(exist_ok=True)
        (tmp_path / "agent.toml").write_text(agent, "utf-8")
        for name, text in sources.items():
            (tmp_path / "sources.d" / f"{name}.toml").write_text(text, "utf-8")
        return tmp_path

    return write


def refusal(folder: Path, key: str) -> ConfigurationError:
    """The problem that is reported for a key; every problem must name file, reason and remedy."""
    with pytest.raises(ConfigurationError) as caught:
        load(folder)
    for problem in caught.value.problems:
        assert problem.file.startswith(str(folder))
        assert problem.args[0]
        assert problem.remedy
    by_key = {problem.key: problem for problem in caught.value.problems}
    assert key in by_key, f"{key} is not among {sorted(by_key)}"
    return by_key[key]


def test_everything_that_can_be_set_is_read_as_written(write: Write, tmp_path: Path) -> None:
    secret = tmp_path / "civil.password"
    secret.write_text("p")
    secret.chmod(0o600)
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----\n")
    folder = write(
        """
        [agent]
        state = "/var/lib/forebay-agent"
        maintenance = ["02:00-02:30"]
        [collector]
        addresses = ["a.example:7443", "[::1]:7444"]
        bandwidth = "2MiB/s"
        window = "8MiB"
        windows = ["20:00-07:00", "12:00-13:30"]
        heartbeat = "5s"
        backoff_first = "250ms"
        backoff_most = "2m"
        [outbox]
        cap = "1GiB"
        free_disk = "64MiB"
        [seal]
        digest = "sha256"
        [log]
        level = "debug"
        [metrics]
        listen = "127.0.0.1:9464"
        """,
        civil="""
        name = "civil_affairs"
        kind = "postgresql"
        host = "db.example"
        port = 5433
        database = "civil"
        user = "forebay"
        password = { file = "../civil.password" }
        charset = "gbk"
        tls = "verify"
        tls_ca = "../ca.pem"
        statement_timeout = "1h"
        connect_timeout = "3s"
        poll_interval = "500ms"
        batch_rows = 1000
        slot = "forebay_civil"
        publication = "forebay civil"
        linger = "0s"
        chunk_time = "2s"
        max_rows_per_second = 5000
        snapshot_windows = ["22:00-06:00"]
        paused = true
        [[table]]
        name = "public.low_income"
        mode = "cursor"
        key = ["id"]
        columns = ["id", "name", "id_no", "updated_at"]
        masks = { name = "name", id_no = "citizen_id" }
        as_text = ["name"]
        cursor = "updated_at"
        overlap = "5m"
        unique_cursor = true
        priority = 1
        paused = true
        """,
        demo=SQLITE + '[[table]]\nname = "a"\nmode = "trigger"\nexclude = ["photo"]\ninstall = true\npurge = false\n',
        firms=SERVER.replace("postgresql", "mysql")
        + 'server_id = 900001\n[[table]]\nname = "shop.a"\nmode = "log"\nsnapshot = false\n',
    )
    config = load(folder)
    assert config.state == Path("/var/lib/forebay-agent")
    assert config.collector.addresses == ("a.example:7443", "[::1]:7444")
    assert (config.collector.bandwidth, config.collector.window) == (2 << 20, 8 << 20)
    assert config.collector.heartbeat == timedelta(seconds=5)
    assert (config.collector.backoff_first, config.collector.backoff_most) == (
        timedelta(milliseconds=250),
        timedelta(minutes=2),
    )
    assert (config.outbox.cap, config.outbox.free_disk) == (1 << 30, 64 << 20)
    assert (config.digest, config.log_level) == ("sha256", "debug")
    assert config.metrics.listen == "127.0.0.1:9464"
    civil, demo, firms = config.sources
    assert (civil.name, civil.kind, civil.host, civil.port) == ("civil_affairs", "postgresql", "db.example", 5433)
    assert civil.password == Secret(file=folder / "sources.d" / "../civil.password")
    assert civil.password.reveal() == "p"
    assert (civil.charset, civil.tls, civil.tls_ca) == ("gbk", "verify", folder / "sources.d" / "../ca.pem")
    assert civil.statement_timeout == timedelta(hours=1)
    assert (civil.poll_interval, civil.batch_rows) == (timedelta(milliseconds=500), 1000)
    assert (civil.linger, civil.chunk_time, civil.max_rows_per_second) == (timedelta(0), timedelta(seconds=2), 5000)
    assert (civil.slot, civil.publication, civil.server_id) == ("forebay_civil", "forebay civil", 0)
    assert (firms.server_id, firms.tables[0].snapshot, demo.tables[0].snapshot) == (900_001, False, True)
    night = model.DailyWindow(dt.time(22), dt.time(6))
    assert (civil.snapshot_windows, civil.paused, civil.tables[0].paused) == ((night,), True, True)
    assert (demo.paused, demo.tables[0].paused, demo.snapshot_windows) == (False, False, ())
    assert [str(window) for window in config.collector.windows] == ["20:00-07:00", "12:00-13:30"]
    assert [str(window) for window in config.maintenance] == ["02:00-02:30"]
    (table,) = civil.tables
    assert table.masks == (MaskConfig("name", "name"), MaskConfig("id_no", "citizen_id"))
    assert (table.key, table.cursor, table.overlap) == (("id",), "updated_at", timedelta(minutes=5))
    assert (table.unique_cursor, table.priority, table.as_text) == (True, 1, frozenset({"name"}))
    assert (demo.name, demo.path) == ("demo", folder / "sources.d" / "civil.db")
    assert (demo.tables[0].exclude, demo.tables[0].install, demo.tables[0].purge) == (("photo",), True, False)
    assert load(folder / "agent.toml") == config


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ('[agent]\nstate = "s"\nstat = 1\n', "agent.stat", "did you mean `state`"),
        ('[agent]\nstate = "s"\n[colector]\n', "colector", "did you mean `collector`"),
        ("[agent]\n", "agent.state", "is missing"),
        ("[agent]\nstate = 5\n", "agent.state", "is a number"),
        ('agent = "x"\n', "agent", "is a text"),
        (AGENT + '[outbox]\ncap = "10 gigs"\n', "outbox.cap", "'10 gigs' cannot be read"),
        (AGENT + "[outbox]\ncap = 10\n", "outbox.cap", "10 cannot be read"),
        (AGENT + '[outbox]\ncap = "1KiB"\n', "outbox.cap", "too small"),
        (AGENT + 'heartbeat = "15"\n', "collector.heartbeat", "'15' cannot be read"),
        (AGENT + 'heartbeat = "0s"\n', "collector.heartbeat", "too short"),
        (AGENT + 'bandwidth = "2MiB"\n', "collector.bandwidth", "cannot be read"),
        (AGENT + 'backoff_most = "100ms"\n', "collector.backoff_most", "shorter than"),
        (AGENT.replace(":7443", ""), "collector.addresses", "host:port"),
        (AGENT.replace("7443", "70000"), "collector.addresses", "1 to 65535"),
        (AGENT + '[seal]\ndigest = "md5"\n', "seal.digest", "'md5' is not known"),
        (AGENT + 'windows = ["8-9"]\n', "collector.windows", "'8-9' cannot be read"),
        (AGENT + 'windows = ["24:00-01:00"]\n', "collector.windows", "cannot be read"),
        (AGENT + 'windows = ["08:00-08:00"]\n', "collector.windows", "cannot be read"),
        (AGENT + "windows = [[1]]\n", "collector.windows", "is a list"),
        ('[agent]\nstate = "s"\nmaintenance = "02:00-03:00"\n', "agent.maintenance", "is a text"),
        (AGENT + '[log]\nlevel = "inof"\n', "log.level", "did you mean `info`"),
        (AGENT + '[metrics]\nlisten = "127.0.0.1"\n', "metrics.listen", "host:port"),
        (AGENT + '[metrics]\nlisten = "0.0.0.0:9464"\n', "metrics.listen", "from other machines"),
        (AGENT + '[metrics]\nlisten = "appliance.example:9464"\n', "metrics.listen", "from other machines"),
        (AGENT + '[metrics]\nlisen = "127.0.0.1:9464"\n', "metrics.lisen", "did you mean `listen`"),
    ],
)
def test_agent_toml_is_refused_with_the_key_at_fault(write: Write, text: str, key: str, says: str) -> None:
    assert says in str(refusal(write(text), key))


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        (SQLITE + TABLE + "moed = 1\n", "table[1].moed", "did you mean `mode`"),
        (SQLITE + TABLE + TABLE.replace("people", "b") + 'mod = "x"\n', "table[2].mod", "unknown key"),
        (TABLE, "kind", "is missing"),
        ('kind = "mariadb"\n' + TABLE, "kind", "did you mean `mysql`"),
        ('kind = "oracel"\n' + TABLE, "kind", "is not known"),
        (SQLITE, "table", "no table is named"),
        (SQLITE + 'table = "people"\n', "table", "is a text"),
        ('kind = "sqlite"\n' + TABLE, "path", "is missing"),
        (SQLITE + 'host = "x"\n' + TABLE, "host", "does not belong"),
        (SERVER + 'path = "x"\n' + TABLE, "path", "does not belong"),
        (SERVER.replace('user = "forebay"\n', "") + TABLE, "user", "is missing"),
        (SERVER.replace('database = "civil"\n', "") + TABLE, "database", "is missing"),
        ('kind = "mysql"\nuser = "u"\n' + TABLE, "table[1].name", "names no database"),
        (SERVER + "port = 0\n" + TABLE, "port", "out of range"),
        (SERVER + "port = 65536\n" + TABLE, "port", "out of range"),
        (SERVER + 'port = "5432"\n' + TABLE, "port", "is a text"),
        (SERVER + 'host = "u:hunter2@db"\n' + TABLE, "host", "is not a host name"),
        (SERVER + 'tls = "on"\n' + TABLE, "tls", "is not known"),
        (SERVER + 'tls_ca = "none.pem"\n' + TABLE, "tls_ca", "is not used"),
        (SERVER + 'tls = "verify"\ntls_ca = "none.pem"\n' + TABLE, "tls_ca", "cannot be read"),
        (SERVER + 'tls = "verify"\ntls_ca = "source.toml"\n' + TABLE, "tls_ca", "holds no certificate"),
        (SERVER + 'host = "h"\nsocket = "/s"\n' + TABLE, "socket", "stands beside"),
        ('name = "a/b"\n' + SQLITE + TABLE, "name", "cannot name a source"),
        (SQLITE + 'poll_interval = "soon"\n' + TABLE, "poll_interval", "cannot be read"),
        (SQLITE + "batch_rows = 0\n" + TABLE, "batch_rows", "out of range"),
        (SQLITE + "batch_rows = true\n" + TABLE, "batch_rows", "true or false"),
        (SQLITE + '[[table]]\nmode = "snapshot"\n', "table[1].name", "is missing"),
        (SQLITE + TABLE.replace("people", "a/b"), "table[1].name", "not the name of a table"),
        (SQLITE + TABLE.replace("people", "x."), "table[1].name", "not the name of a table"),
        (SQLITE + TABLE + TABLE, "table[2].name", "duplicate stream"),
        (SQLITE + TABLE + TABLE.replace("people", "main.people"), "table[2].name", "duplicate stream"),
        (SERVER + TABLE + TABLE.replace("people", "public.people"), "table[2].name", "duplicate stream"),
        (SQLITE + '[[table]]\nname = "people"\n', "table[1].cursor", "is missing"),
        (SQLITE + TABLE.replace("snapshot", "curser"), "table[1].mode", "did you mean `cursor`"),
        (SQLITE + TABLE + 'cursor = "t"\n', "table[1].cursor", "only used in mode"),
        (SQLITE + TABLE + "install = true\n", "table[1].install", "only used in mode"),
        (SQLITE + TABLE + 'masks = { a = "citizen" }\n', "table[1].masks.a", "did you mean `citizen_id`"),
        (SQLITE + TABLE + 'key = ["a"]\nmasks = { a = "name" }\n', "table[1].masks.a", "cannot be masked"),
        (
            SQLITE + TABLE.replace("snapshot", "cursor") + 'cursor = "t"\nmasks = { t = "name" }\n',
            "table[1].masks.t",
            "cannot be masked",
        ),
        (SQLITE + TABLE + 'columns = ["a"]\nexclude = ["b"]\n', "table[1].exclude", "stands beside"),
        (SQLITE + TABLE + 'exclude = ["a"]\nmasks = { a = "name" }\n', "table[1].masks.a", "never read"),
        (SQLITE + TABLE + 'columns = ["b"]\nmasks = { a = "name" }\n', "table[1].masks.a", "never read"),
        (SQLITE + TABLE + 'columns = ["b"]\nkey = ["a"]\n', "table[1].key", "never read"),
        (SQLITE + TABLE + 'exclude = ["a"]\nkey = ["a"]\n', "table[1].key", "never read"),
        (SQLITE + TABLE + 'exclude = ["a", "a"]\n', "table[1].exclude", "twice"),
        (SQLITE + TABLE + '[table.columns.a]\nmask = "name"\n', "table[1].columns", "is a table"),
        (SQLITE + TABLE + 'columns = "a"\n', "table[1].columns", "is a text"),
        (SQLITE + TABLE + "priority = 10\n", "table[1].priority", "out of range"),
        (SQLITE + TABLE + "snapshot = false\n", "table[1].snapshot", "only used in mode"),
        (
            SERVER.replace("postgresql", "mysql") + 'slot = "a"\n' + TABLE,
            "slot",
            "does not belong to a source of kind mysql",
        ),
        (SERVER + 'slot = "A b"\n' + TABLE, "slot", "no name of a replication slot"),
        (SERVER + "server_id = 5\n" + TABLE, "server_id", "does not belong"),
        (SQLITE + 'publication = "p"\n' + TABLE, "publication", "does not belong"),
        (SERVER + 'linger = "1"\n' + TABLE, "linger", "cannot be read"),
        (SERVER + 'chunk_time = "1ms"\n' + TABLE, "chunk_time", "too short"),
        (SERVER + 'password = "hunter2"\n' + TABLE, "password", "never stands in the file"),
        (SERVER + 'password = { value = "hunter2" }\n' + TABLE, "password.value", "unknown key"),
        (SERVER + 'password = { file = "none" }\n' + TABLE, "password.file", "cannot be read"),
        (SERVER + 'password = { env = "FOREBAY_NOT_SET" }\n' + TABLE, "password.env", "not set"),
        (SERVER + 'password = { env = "A", file = "b" }\n' + TABLE, "password", "none or several"),
    ],
)
def test_a_sources_file_is_refused_with_the_key_at_fault(write: Write, text: str, key: str, says: str) -> None:
    problem = refusal(write(source=text), key)
    assert says in str(problem)
    assert "hunter2" not in f"{problem} {problem.remedy}"


def test_one_load_reports_everything_that_is_wrong_in_every_file(write: Write) -> None:
    folder = write(AGENT + "[log]\nlevel = 3\n", a=SQLITE + TABLE + "x1 = 1\n", b='kind = "mysql"\npassword = "p"\n')
    with pytest.raises(ConfigurationError) as caught:
        load(folder)
    found = {(Path(problem.file).name, problem.key) for problem in caught.value.problems}
    assert found == {
        ("agent.toml", "log.level"),
        ("a.toml", "table[1].x1"),
        ("b.toml", "password"),
        ("b.toml", "user"),
        ("b.toml", "table"),
    }
    assert caught.value.problems[0] is caught.value


def test_two_sources_of_one_name_are_refused(write: Write) -> None:
    folder = write(a='name = "civil"\n' + SQLITE + TABLE, civil=SQLITE + TABLE)
    assert "is also the name of" in str(refusal(folder, "name"))


def test_invalid_toml_is_refused_with_line_and_column(write: Write) -> None:
    problem = refusal(write(source=SQLITE + "[[table\n"), "")
    assert "line 3, column" in str(problem)
    assert problem.file.endswith("source.toml")


def test_a_file_that_is_not_utf8_is_refused(write: Write) -> None:
    folder = write(source=SQLITE)
    (folder / "sources.d" / "source.toml").write_bytes(SQLITE.encode() + "# 民政局\n".encode("gb18030"))
    assert "is not UTF-8" in str(refusal(folder, ""))


def test_a_folder_without_agent_toml_is_refused(tmp_path: Path) -> None:
    problem = refusal(tmp_path, "")
    assert problem.file == str(tmp_path / "agent.toml")
    assert "No such file" in str(problem)


def test_a_secret_file_that_every_user_can_read_is_refused(write: Write, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    secret.chmod(0o644)
    folder = write(source=SERVER + f'password = {{ file = "{secret}" }}\n' + TABLE)
    problem = refusal(folder, "password.file")
    assert "readable by every user" in str(problem)
    assert problem.remedy == f"Run: chmod 0600 {secret}"
    secret.chmod(0o640)
    assert load(folder).sources[0].password == Secret(file=secret)


def test_a_secret_never_prints(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_TEST_SECRET", "hunter2")
    config = load(write(source=SERVER + 'password = { env = "FOREBAY_TEST_SECRET" }\n' + TABLE))
    assert config.sources[0].password is not None
    assert config.sources[0].password.reveal() == "hunter2"
    assert "hunter2" not in f"{config!r} {config.sources[0].password} {dataclasses.asdict(config)}"


def test_the_hash_changes_with_any_name_or_content_and_with_nothing_else(write: Write) -> None:
    folder = write(a=SQLITE + TABLE)
    first = load(folder).hash
    assert len(first) == 64
    (folder / "sources.d" / "a.toml~").write_text("an editor's copy")
    (folder / "sources.d" / ".a.toml").write_text("not = [ours")
    assert load(folder).hash == first
    write(a=SQLITE + TABLE + "# a remark\n")
    second = load(folder).hash
    (folder / "sources.d" / "a.toml").rename(folder / "sources.d" / "b.toml")
    assert len({first, second, load(folder).hash}) == 3


def test_what_needs_the_state_folder_alone_looks_at_no_source(write: Write) -> None:
    folder = write(source="this is [ not TOML")
    assert load_agent(folder).state == folder / "state"
    assert not load_agent(folder).sources


EXAMPLES = Path(__file__).parents[2] / "agent" / "examples"


def test_the_examples_are_a_valid_configuration(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("p")
    secret.chmod(0o600)
    (tmp_path / "sources.d").mkdir()
    for file in [EXAMPLES / "agent.toml", *(EXAMPLES / "sources.d").glob("*.toml")]:
        text = re.sub(r'\{ file = "[^"]*" \}', f'{{ file = "{secret}" }}', file.read_text("utf-8"))
        (tmp_path / file.relative_to(EXAMPLES)).write_text(text, "utf-8")
    assert {source.kind for source in load(tmp_path).sources} == set(model.SOURCE_KINDS)


def test_every_setting_stands_in_the_examples(write: Write) -> None:
    """Known keys are read off the refusal of an unknown one, so that none can be forgotten here."""
    text = "".join(file.read_text("utf-8") for file in EXAMPLES.rglob("*.toml"))
    written = set(re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE))
    sections = ("[agent]", "[collector]", "[outbox]", "[log]", "[seal]", "[metrics]")
    folder = write(
        "".join(f"{section}\n0 = 1\n" for section in sections), source="0 = 1\n[canary]\n0 = 1\n[[table]]\n0 = 1\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load(folder)
    refused = [problem.remedy for problem in caught.value.problems if problem.args[0] == "unknown key"]
    known = {name for remedy in refused for name in re.findall(r"`(\w+)`", remedy)} - {"table", "canary"}
    assert len(refused) == 9
    assert len(known) > 35
    assert known - written == set()
