"""The pgoutput kernel on what a real PostgreSQL sends, against the reference and against what PostgreSQL itself says."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import pytest

from forebay_agent.capture.postgresql import libpq
from forebay_agent.kernel import pgoutput as kernel
from forebay_agent.kernel.pgoutput import LogScanner, TableDecoder
from tests.fidelity.postgresql_types import AS_TEXT, BY_CHOICE, EXACT, Case
from tests.reference.pgoutput import Decoder, Table, plain_rows
from tests.reference.pgoutput_server import SETTINGS, Replication
from tests.servers.postgresql import PostgreSQL

CASES: Final = tuple(case for case in (*EXACT, *AS_TEXT, *BY_CHOICE) if "GENERATED" not in case.definition)
FORMS: Final = {"boolean as text": kernel.TRUE_FALSE, "inet": kernel.WITH_NETMASK}
WIDE: Final = "(SELECT string_agg(md5(i::text) || '贵港', '') FROM generate_series({0}, {0} + 400) i)"


@pytest.fixture(scope="module")
def database(postgresql: PostgreSQL) -> str:
    postgresql.create_database("pgoutput")
    postgresql.execute(
        "ALTER DATABASE pgoutput SET datestyle TO 'German'", "ALTER DATABASE pgoutput SET timezone TO 'Asia/Shanghai'"
    )
    return "pgoutput"


@pytest.fixture
def replication(postgresql: PostgreSQL, database: str) -> Iterator[Replication]:
    with Replication(postgresql, database) as replication:
        yield replication


class Capture:
    """Decodes everything with kernel and reference: each table as the schema that its name gives, keyed by its first column."""

    def __init__(self, schemas: dict[str, pa.Schema], forms: dict[str, int] | None = None) -> None:
        self.schemas = schemas
        self.forms = forms or {}
        self.scanner = LogScanner(most_rows=1 << 20, most_bytes=1 << 30)
        self.reference = Decoder({})
        self.decoders: dict[str, TableDecoder] = {}
        self.tables: dict[str, Table] = {}
        self.truncated = 0

    def feed(self, messages: Sequence[tuple[int, bytes]]) -> None:
        for lsn, message in messages:
            if self.scanner.feed(message, lsn) == kernel.MESSAGE:
                self.ask(message)
            self.reference.feed(message)

    def ask(self, message: bytes) -> None:
        if message[:1] == b"T":
            self.truncated += 1
            return
        assert message[:1] == b"R", message
        _, name, rest = message[5:].split(b"\0", 2)
        table = name.decode()
        number, width = int.from_bytes(message[1:5]), int.from_bytes(rest[1:3])
        schema = self.schemas.get(table)
        if schema is None:
            self.scanner.register(message, None)
            self.reference.relations[number] = (message, None)
            return
        forms = [kernel.AS_SENT, self.forms[table]] if table in self.forms else [kernel.AS_SENT] * len(schema)
        self.decoders[table] = TableDecoder(schema, range(len(schema)), width, [0], forms)
        self.tables[table] = Table(schema, list(range(len(schema))), width, [0], forms)
        self.scanner.register(message, self.decoders[table])
        self.reference.relations[number] = (message, self.tables[table])

    def rows(self, table: str) -> list[dict[str, Any]]:
        decoder = self.decoders[table]
        assert decoder.unfit is None
        batch = decoder.take()
        batch.validate(full=True)
        assert plain_rows([batch]) == self.tables[table].rows
        rows: list[dict[str, Any]] = batch.to_pylist()
        return rows


def mirrored(rows: Sequence[dict[str, Any]], key: str) -> dict[Any, dict[str, Any]]:
    """What a mirror holds after these changes."""
    mirror: dict[Any, dict[str, Any]] = {}
    for row in rows:
        values = {name: value for name, value in row.items() if not name.startswith("_")}
        if row["_op"] == "d":
            del mirror[row[key]]
            continue
        for name in row["_absent"] or ():
            values[name] = mirror[row[key]][name]
        assert (row[key] in mirror) == (row["_op"] == "u")
        mirror[row[key]] = values
    return mirror


def test_values_of_every_type_are_what_the_database_says(replication: Replication) -> None:
    server, database = replication.server, replication.database
    names = {f"t{number}": case for number, case in enumerate(CASES)}
    server.execute(*dict.fromkeys(statement for case in CASES for statement in case.made), database=database)
    for name, case in names.items():
        server.execute(
            f"CREATE TABLE {name} (id int PRIMARY KEY, v {case.definition})",
            *(f"INSERT INTO {name} VALUES ({at}, {value})" for at, value in enumerate((*case.values, "NULL"))),
            database=database,
        )
    replication.start()
    schemas = {name: pa.schema([("id", pa.int32()), ("v", case.arrow)]) for name, case in names.items()}
    forms = {name: FORMS[case.name] for name, case in names.items() if case.name in FORMS}
    capture = Capture(schemas, forms)
    capture.feed(replication.messages())
    with server.connect(dbname=database, options=SETTINGS) as connection:
        for name, case in names.items():
            oracle = _oracle(case)
            told = [
                text for (text,) in connection.execute(f"SELECT {oracle} FROM {name} ORDER BY id".encode()).fetchall()
            ]
            ours = [None if row["v"] is None else case.told(row["v"]) for row in capture.rows(name)]
            assert ours == told, case.name
            assert len(ours) == len(case.values) + 1


def _oracle(case: Case) -> str:
    # what pgoutput sends of xml is the type's output function, which leaves out an empty XML declaration; the cast keeps it
    return "textin(xml_out(v))" if case.name == "xml" else case.oracle.format(c="v")


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL", "USING INDEX other_key"])
def test_changes_of_all_kinds_make_the_mirror_the_table(replication: Replication, identity: str) -> None:
    server, database = replication.server, replication.database
    server.execute(
        "DROP TABLE IF EXISTS other",
        "CREATE TABLE other (k text PRIMARY KEY, n int, big text, more text, flag boolean)",
        "CREATE UNIQUE INDEX other_key ON other (k)",
        f"ALTER TABLE other REPLICA IDENTITY {identity}",
        "ALTER TABLE other ALTER big SET STORAGE external",
        *(f"INSERT INTO other VALUES ('键{n}', {n}, {WIDE.format(n)}, {WIDE.format(n + 1)}, true)" for n in range(8)),
        "UPDATE other SET n = n + 1",
        "UPDATE other SET more = NULL WHERE n = 3",
        "UPDATE other SET big = 'small' WHERE n = 4",
        "UPDATE other SET n = NULL, flag = false WHERE n = 5",
        "DELETE FROM other WHERE n = 6",
        "BEGIN; UPDATE other SET k = k || '!', big = big || 'x', more = 'y' WHERE n = 7; COMMIT",
        "DELETE FROM other WHERE n = 8; INSERT INTO other VALUES ('键7', 80, 'again', NULL, NULL)",
        database=database,
    )
    replication.start()
    text = pa.string()
    capture = Capture(
        {"other": pa.schema([("k", text), ("n", pa.int32()), ("big", text), ("more", text), ("flag", pa.bool_())])}
    )
    capture.feed(replication.messages())
    rows = capture.rows("other")
    absent = [row["_absent"] for row in rows if row["_absent"]]
    assert (absent == []) == (identity == "FULL")
    mirror = mirrored(rows, "k")
    told = server.execute("SELECT * FROM other", database=database)
    assert {tuple(row.values()) for row in mirror.values()} == set(told)
    assert [row["_op"] for row in rows].count("d") == 3


def test_a_changed_key_without_the_large_values_leaves_them_absent(replication: Replication) -> None:
    server, database = replication.server, replication.database
    server.execute(
        "CREATE TABLE moved (id int PRIMARY KEY, big text)",
        f"INSERT INTO moved VALUES (1, {WIDE.format(1)})",
        "ALTER TABLE moved ALTER big SET STORAGE external",
        f"INSERT INTO moved VALUES (2, {WIDE.format(2)})",
        "UPDATE moved SET id = id + 10",
        "TRUNCATE moved",
        database=database,
    )
    replication.start()
    capture = Capture({"moved": pa.schema([("id", pa.int32()), ("big", pa.string())])})
    capture.feed(replication.messages())
    assert capture.truncated == 1
    rows = [(row["id"], row["_op"], row["_absent"]) for row in capture.rows("moved")][2:]
    assert rows == [(1, "d", None), (11, "c", ["big"]), (2, "d", None), (12, "c", ["big"])]


def test_a_live_connection_is_drained_and_its_keepalives_are_read(replication: Replication) -> None:
    server, database = replication.server, replication.database
    server.execute("CREATE TABLE live (id int PRIMARY KEY)", database=database)
    pgconn = replication.start()
    capture = Capture({"live": pa.schema([("id", pa.int32())])})
    scanner, functions = capture.scanner, libpq.copy_functions()
    server.execute("INSERT INTO live SELECT * FROM generate_series(1, 50000)", database=database)
    target = replication.end()
    scanner.most_rows = 10_000
    taken: list[int] = []
    deadline = time.monotonic() + 30
    while scanner.keepalive_end < target and time.monotonic() < deadline:
        outcome = scanner.drain(functions, libpq.address(pgconn), 200)
        if outcome == kernel.MESSAGE:
            assert scanner.message is not None
            capture.ask(scanner.message)
        elif outcome == kernel.FULL:
            assert capture.decoders["live"].rows == 12_500
            assert scanner.open
        elif outcome != kernel.REPLY:
            assert outcome == kernel.WAITING
        if "live" in capture.decoders:
            taken += capture.decoders["live"].take()["id"].to_pylist()
    assert taken == list(range(1, 50_001))
    assert not scanner.open
    assert scanner.commit_end <= target <= scanner.keepalive_end
    begun = time.monotonic()
    assert scanner.drain(functions, libpq.address(pgconn), 50) == kernel.WAITING
    assert time.monotonic() - begun >= 0.04
    ((pid,),) = server.execute("SELECT active_pid FROM pg_replication_slots")
    server.execute(f"SELECT pg_terminate_backend({pid})")
    outcomes = {scanner.drain(functions, libpq.address(pgconn), 5_000) for _ in range(3)}
    assert outcomes <= {kernel.ENDED, kernel.LOST, kernel.REPLY}
    assert outcomes & {kernel.ENDED, kernel.LOST}


def test_a_request_for_a_reply_is_handed_on(replication: Replication) -> None:
    pgconn = replication.start()
    replication.server.execute("ALTER SYSTEM SET wal_sender_timeout TO '400ms'", "SELECT pg_reload_conf()")
    try:
        outcomes = [LogScanner().drain(libpq.copy_functions(), libpq.address(pgconn), 3_000) for _ in range(3)]
    finally:
        replication.server.execute("ALTER SYSTEM RESET wal_sender_timeout", "SELECT pg_reload_conf()")
    assert kernel.REPLY in outcomes


def test_a_streamed_transaction_is_what_the_table_holds_after_it(replication: Replication) -> None:
    server, database = replication.server, replication.database
    server.execute("CREATE TABLE long (id int PRIMARY KEY, v text)", database=database)
    pgconn = replication.start(2, streaming="on")
    server.execute("ALTER SYSTEM SET logical_decoding_work_mem TO '64kB'", "SELECT pg_reload_conf()")
    try:
        with server.connect(dbname=database, autocommit=False) as connection:
            connection.execute("INSERT INTO long SELECT i, md5(i::text) FROM generate_series(1, 5000) i")
            connection.execute("SAVEPOINT a")
            connection.execute("INSERT INTO long SELECT i, 'gone' FROM generate_series(5001, 9000) i")
            connection.execute("ROLLBACK TO a")
            connection.execute("UPDATE long SET v = v || '!' WHERE id % 2 = 0")
            server.execute("INSERT INTO long VALUES (-1, 'between')", database=database)
        with server.connect(dbname=database, autocommit=False) as connection:
            connection.execute("DELETE FROM long WHERE id % 5 = 0")
            connection.rollback()
        # a rollback is written to the log's file by and by: this commit takes it along
        server.execute("INSERT INTO long VALUES (-2, 'after')", database=database)
        capture = Capture({"long": pa.schema([("id", pa.int32()), ("v", pa.string())])})
        segments, aborted = streamed_until(replication.end(), capture, pgconn)
    finally:
        server.execute("ALTER SYSTEM RESET logical_decoding_work_mem", "SELECT pg_reload_conf()")
    assert segments > 1
    assert aborted
    mirror = mirrored(capture.decoders["long"].take().to_pylist(), "id")
    assert {tuple(row.values()) for row in mirror.values()} == set(
        server.execute("SELECT * FROM long", database=database)
    )
    assert capture.scanner.commit_end <= capture.scanner.keepalive_end


def streamed_until(target: int, capture: Capture, pgconn: Any) -> tuple[int, int]:
    """Reads with streaming on; -> how many segments and aborts of subtransactions came."""
    scanner = capture.scanner
    kept: dict[int, list[bytes]] = {}
    gone: dict[int, set[int]] = {}
    segments = 0
    deadline = time.monotonic() + 30
    while scanner.keepalive_end < target and time.monotonic() < deadline:
        outcome = scanner.drain(libpq.copy_functions(), libpq.address(pgconn), 200)
        if outcome == kernel.SEGMENT:
            xid, frames = scanner.take_segment()
            kept.setdefault(xid, []).append(frames)
            segments += 1
        elif outcome == kernel.MESSAGE:
            message = scanner.message
            assert message is not None
            xid = int.from_bytes(message[1:5])
            if message[:1] == b"A":
                sub = int.from_bytes(message[5:9])
                gone.setdefault(xid, set()).add(sub)
                if sub == xid:
                    del kept[xid]
            elif message[:1] == b"c":
                scanner.begin_streamed(message, gone.get(xid, ()))
                for frames in kept.pop(xid):
                    replay(capture, frames)
                scanner.end_streamed()
            else:
                capture.ask(message)
        else:
            assert outcome in (kernel.WAITING, kernel.REPLY)
    assert not kept
    return segments, sum(map(len, gone.values()))


def replay(capture: Capture, frames: bytes) -> None:
    at = 0
    while at < len(frames):
        stop, at = capture.scanner.replay(frames, at)
        if stop == kernel.MESSAGE:
            assert capture.scanner.message is not None
            capture.ask(capture.scanner.message)


def test_real_messages_cut_or_altered_never_crash_the_kernel(replication: Replication) -> None:
    server, database = replication.server, replication.database
    columns = [
        case
        for case in CASES
        if case.name in ("numeric(18,2)", "timestamptz", "bytea", "text", "double precision", "jsonb")
    ]
    definitions = ", ".join(f"c{number} {case.definition}" for number, case in enumerate(columns))
    values = ", ".join(case.values[0] for case in columns)
    server.execute(
        f"CREATE TABLE small (id int PRIMARY KEY, {definitions})",
        f"INSERT INTO small VALUES (1, {values})",
        "UPDATE small SET id = 2",
        "DELETE FROM small",
        database=database,
    )
    replication.start()
    messages = [message for _, message in replication.messages()]
    schema = pa.schema([("id", pa.int32()), *((f"c{number}", case.arrow) for number, case in enumerate(columns))])
    for number, message in enumerate(messages):
        for at in range(len(message)):
            for wrong in (message[:at], message[:at] + bytes([message[at] ^ 0x81]) + message[at + 1 :]):
                capture = Capture({"small": schema})
                capture.feed([(0, before) for before in messages[:number]])
                try:
                    capture.scanner.feed(wrong)
                except ValueError as error:
                    assert re.match("logical replication stream, message", str(error))  # noqa: PT017
                for decoder in capture.decoders.values():
                    decoder.take().validate()
