"""An outbox written by an older forebay-agent: brought up to date in place, whole, or refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from forebay_agent.config.model import OutboxConfig
from forebay_agent.errors import OutboxDamaged, StateFolderUnusable
from forebay_agent.outbox import LogRecord, Outbox, OutboxReader
from forebay_agent.outbox.file import APPLICATION_ID, FORMAT, PAGE_BYTES, write_format
from forebay_agent.outbox.upgrade import BACK, STEPS, upgrade
from forebay_wire.digest import GENESIS
from tests.receiving.batches import SCHEMA, STREAM, chained

CONFIG = OutboxConfig()
FORMAT_1 = Path(__file__).with_name("outbox_format_1.sql")
"""the tables as the first version made them"""


def write_format_1(folder: Path, batches: int = 2) -> None:
    with closing(sqlite3.connect(folder / "outbox.db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.executescript(FORMAT_1.read_text("utf-8"))
        connection.execute("PRAGMA user_version = 1")
        connection.execute("PRAGMA journal_mode = WAL")
        sealed = chained(batches)
        chain = sealed[-1].chain if sealed else GENESIS
        connection.execute(
            "INSERT INTO stream (department, source, name, epoch, next_seq, chain, checkpoint) VALUES (?, ?, ?, 1, ?, ?, ?)",
            (STREAM.department, STREAM.source, STREAM.table, batches + 1, chain, '{"rows":6}'),
        )
        connection.executemany(
            "INSERT INTO batch (stream, epoch, seq, chain, size, header, payload) VALUES (1, ?, ?, ?, ?, ?, ?)",
            [(b.epoch, b.seq, b.chain, b.size, b.header, b.payload) for b in sealed],
        )


def layout(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """table -> its columns with types, defaults and keys."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")]
    told = {table: connection.execute(f"PRAGMA table_xinfo({table})").fetchall() for table in tables}
    told[""] = connection.execute("SELECT name, type, ncol, wr, strict FROM pragma_table_list ORDER BY 1").fetchall()
    return told


def test_an_older_file_goes_on_with_all_that_is_in_it(tmp_path: Path) -> None:
    write_format_1(tmp_path)
    batches = chained(3)
    with closing(Outbox.open(tmp_path, CONFIG)) as outbox, closing(outbox.reader()) as reader:
        record = outbox.stream(STREAM)
        assert (record.epoch, record.next_seq, record.chain, record.checkpoint) == (
            1,
            3,
            batches[1].chain,
            '{"rows":6}',
        )
        outbox.put(record, batches[2:], '{"rows":9}', schema=SCHEMA)
        assert [batch.chain for batch in reader.waiting(record.id)] == [batch.chain for batch in batches]
        assert reader.next_batch(record.id, (0, 0)) == batches[0]
        assert outbox.log(STREAM.department, STREAM.source) is None
        outbox.put_log(STREAM.department, STREAM.source, [], LogRecord("0-1-1", frozenset({"public.企业"})), open=False)
    with closing(Outbox.open(tmp_path, CONFIG)) as outbox:
        assert outbox.log(STREAM.department, STREAM.source) == LogRecord("0-1-1", frozenset({"public.企业"}))


def test_an_upgraded_file_is_laid_out_as_a_new_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    write_format_1(old)
    Outbox.open(old, CONFIG).close()
    Outbox.open(new, CONFIG).close()
    with closing(sqlite3.connect(old / "outbox.db")) as upgraded, closing(sqlite3.connect(new / "outbox.db")) as made:
        assert layout(upgraded) == layout(made)
        assert upgraded.execute("PRAGMA user_version").fetchone() == (FORMAT,)


def test_an_upgrade_that_fails_half_way_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_format_1(tmp_path)
    with closing(sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)) as connection:
        before = layout(connection)
        monkeypatch.setitem(STEPS, 1, (*STEPS[1], "CREATE TABLE stream (a)"))
        with pytest.raises(sqlite3.Error):
            upgrade(connection, FORMAT)
        assert layout(connection) == before
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    monkeypatch.undo()
    with closing(Outbox.open(tmp_path, CONFIG)) as outbox:
        assert outbox.stream(STREAM).next_seq == 3


def test_a_listing_does_not_touch_an_older_file_and_says_what_to_do(tmp_path: Path) -> None:
    write_format_1(tmp_path)
    with pytest.raises(StateFolderUnusable, match="older") as refused:
        OutboxReader(tmp_path)
    assert "forebay-agent run" in refused.value.remedy
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_file_without_a_format_is_not_taken_for_an_old_one(tmp_path: Path) -> None:
    write_format_1(tmp_path)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
        connection.execute("PRAGMA user_version = 0")
    with pytest.raises(OutboxDamaged):
        Outbox.open(tmp_path, CONFIG)


def test_every_step_up_has_a_step_back() -> None:
    assert {version - 1 for version in BACK} == set(STEPS)
    assert max(BACK) == FORMAT


@pytest.mark.parametrize("wanted", range(1, FORMAT))
def test_the_way_back_and_up_again_keeps_all_that_is_in_the_file(tmp_path: Path, wanted: int) -> None:
    write_format_1(tmp_path)
    file = tmp_path / "outbox.db"
    with closing(sqlite3.connect(file)) as connection:
        first = layout(connection)
    batches = chained(3)
    with closing(Outbox.open(tmp_path, CONFIG)) as outbox:
        outbox.put(outbox.stream(STREAM), batches[2:], '{"rows":9}', schema=SCHEMA)
    with closing(sqlite3.connect(file)) as connection:
        newest = layout(connection)
    write_format(file, wanted)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (wanted,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if wanted == 1:
            assert layout(connection) == first
        assert connection.execute("SELECT chain FROM batch ORDER BY seq").fetchall() == [(b.chain,) for b in batches]
    with closing(Outbox.open(tmp_path, CONFIG)) as outbox, closing(outbox.reader()) as reader:
        record = outbox.stream(STREAM)
        assert (record.next_seq, record.chain, record.checkpoint) == (4, batches[2].chain, '{"rows":9}')
        assert [reader.next_batch(record.id, (1, seq)) for seq in (0, 1, 2)] == batches
    with closing(sqlite3.connect(file)) as connection:
        assert layout(connection) == newest


def test_a_way_back_that_would_lose_something_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with closing(Outbox.open(tmp_path, CONFIG)) as outbox:
        outbox.put_log(STREAM.department, STREAM.source, [], LogRecord("0-1-1", frozenset({"public.企业"})), open=False)
    for wanted in (1, 0, FORMAT + 1):
        with pytest.raises(StateFolderUnusable, match="has no place"):
            write_format(tmp_path / "outbox.db", wanted)
    with closing(Outbox.open(tmp_path, CONFIG)) as outbox:
        assert outbox.log(STREAM.department, STREAM.source) == LogRecord("0-1-1", frozenset({"public.企业"}))
    write_format(tmp_path / "outbox.db", 2)
