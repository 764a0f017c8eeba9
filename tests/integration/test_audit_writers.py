"""Several processes write one audit, on SQLite and on PostgreSQL: one chain, no gap, no fork."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.engine import make_url

from forebay_collector.ledger import Ledger, tables
from forebay_collector.ledger.audit import record
from forebay_collector.ledger.verdict import judge
from tests.servers.postgresql import PostgreSQL

PROCESSES, THREADS, EACH = 3, 2, 40
_WRITER = """
import sys, threading
from pathlib import Path
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.audit import record
where, name, threads, each = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ledger = Ledger.open(where if "://" in where else Path(where))
def write(thread):
    for number in range(each):
        try:
            with ledger.database.write() as connection:
                record(connection, number, name, "test", f"{thread}/{number}", detail={"n": number})
                if number % 4 == 3:
                    raise ZeroDivisionError  # the deed fails: its entry goes with it
        except ZeroDivisionError:
            pass
threads = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
ledger.close()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "ledger.db")
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = f"ledger_{tmp_path.name.lower().replace('-', '_')}"[:60]
    server.create_database(name)
    url = make_url("postgresql+psycopg://").set(
        username=server.user, password=server.password, host=server.host, port=server.port, database=name
    )
    yield url.render_as_string(hide_password=False)


def opened(where: str) -> Ledger:
    return Ledger.open(where if "://" in where else Path(where))


def test_writers_of_several_processes_make_one_chain(where: str) -> None:
    ledger = opened(where)
    commands = [
        [sys.executable, "-W", "error", "-c", _WRITER, where, f"p{number}", str(THREADS), str(EACH)]
        for number in range(PROCESSES)
    ]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    try:
        looks = 0
        while any(writer.poll() is None for writer in writers):
            verdict = ledger.audit.verify()
            assert verdict.ok, verdict.reason
            looks += 1
    finally:
        errors = [writer.communicate(timeout=60)[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * PROCESSES, errors
    assert looks > 1, "it was never looked at while they wrote"
    verdict = ledger.audit.verify()
    kept = PROCESSES * THREADS * EACH * 3 // 4
    assert (verdict.ok, verdict.entries, verdict.head.entries) == (True, kept, kept)
    with ledger.database.read() as connection:
        numbers = connection.execute(select(tables.audit.c.id).order_by(tables.audit.c.id)).scalars().all()
    assert numbers == list(range(1, kept + 1))
    ledger.close()


def test_an_alteration_is_found_on_either_database(where: str) -> None:
    ledger = opened(where)
    for number in range(5):
        ledger.audit.add("张三", "replay", f"s{number}", "why", {"n": number})
    assert ledger.audit.verify().ok
    for number in (1, 3, 5):
        for sql in ("UPDATE audit SET why = 'x' WHERE id = :n", "DELETE FROM audit WHERE id = :n"):
            with ledger.database.write() as connection:
                connection.execute(text(sql), {"n": number})
                verdict = judge(connection)
                connection.rollback()
            assert (verdict.ok, verdict.first_bad_id) == (False, number)
    assert ledger.audit.verify().ok
    ledger.close()


def test_a_second_writer_waits_for_the_first(where: str) -> None:
    """Two ledgers over one database, as two processes have them: the entries follow each other whoever began first."""
    one, two = opened(where), opened(where)
    inside, release = threading.Event(), threading.Event()

    def slow() -> None:
        with one.database.write() as connection:
            record(connection, 1, "one", "test", "slow")
            inside.set()
            release.wait(20)

    first = threading.Thread(target=slow)
    first.start()
    assert inside.wait(20)
    second = threading.Thread(target=two.audit.add, args=("two", "test", "quick"))
    second.start()
    second.join(0.3)
    assert second.is_alive(), "the second did not wait for the chain's end"
    assert two.audit.listing() == [], "readers wait for nobody and see nothing half done"
    release.set()
    first.join(20)
    second.join(20)
    assert [entry.who for entry in two.audit.listing()] == ["two", "one"]
    assert two.audit.verify().ok
    one.close()
    two.close()
