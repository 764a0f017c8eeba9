"""What every platform promises about reading: listings, SQL, names and foreign readers. A new implementation joins by one line in `conftest.PLATFORMS`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from forebay_collector.platform.contract import Platform, PlatformError, PlatformMark, QueryRefused
from forebay_wire.stream import StreamName
from tests.contract.platform_batches import ENTERPRISE, STREAM, ask, batch, compact, mirror, row_of, schema


def test_read_gives_the_columns_asked_for_in_that_order(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1, "甲"))])])
    assert next(platform.read(STREAM, ["name", "id"])).to_pydict() == {"name": ["甲"], "id": [1]}
    with pytest.raises(PlatformError, match="'nothing'"):
        list(platform.read(STREAM, ["nothing"]))


def test_tables_are_listed_with_rows_files_and_mark(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(5)])])
    platform.apply(STREAM, [batch(2, [("d", {"id": 3}), ("u", row_of(4))])])
    listed = {table.kind: table for table in platform.tables()}
    assert {kind: (table.name, table.rows) for kind, table in listed.items()} == {
        "mirror": ("enterprise", 4),
        "changes": ("enterprise_changes", 7),
    }
    assert all(table.stream == STREAM and table.mark == PlatformMark(1, 2) for table in listed.values())
    assert all(table.files > 0 and table.bytes > 0 for table in listed.values())


def test_streams_are_told_apart_whatever_they_are_called(platform: Platform) -> None:
    tables = [
        "main.x",
        "main.x_changes",
        "main.x_changes_changes",
        "x",
        ".x",
        "main.a.b",
        "main.a",
        'a"b.c',
        "main.",
        "..",
    ]
    tables += [
        "main.X",
        "main.x%2E",
        " main.x",
        "main.x ",
        "main.../../../x",
        "main." + "长" * 80,
        "data.metadata",
        "a.data",
    ]
    streams = [StreamName("部门", "src", table) for table in tables]
    streams += [StreamName("部门.src", "x", "y"), StreamName("部门", "src.x", "y"), StreamName("部门", "src", "x.y")]
    for number, stream in enumerate(streams):
        platform.apply(stream, [batch(1, [("r", row_of(number, str(stream)))])])
    for number, stream in enumerate(streams):
        assert mirror(platform, stream) == [row_of(number, str(stream))]
        assert platform.mark(stream) == PlatformMark(1, 1)
    listed = platform.tables()
    assert {table.stream for table in listed} == set(streams)
    assert len({table.name.casefold() for table in listed}) == len(listed)
    for table in listed:
        assert len(ask(platform, f'SELECT * FROM "{table.name.replace(chr(34), chr(34) * 2)}"')) == 1
    shown = next(table.name for table in listed if table.stream.table == "main.x_changes" and table.kind == "mirror")
    assert ask(platform, f'SELECT id FROM "{shown}"') == [{"id": 1}]


def test_sql_joins_tables_by_short_and_by_full_name(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1)), ("r", row_of(2))])])
    permits = StreamName("审批局", "permits", "permit")
    described = schema({"no": pa.string(), "id": pa.int64()}, ["no"])
    platform.apply(permits, [batch(1, [("r", {"no": "A", "id": 2})], described)])
    query = 'SELECT e.name, p.no FROM enterprise e JOIN "审批局.permits"."permit" p USING (id)'
    assert ask(platform, query) == [{"name": "甲", "no": "A"}]
    assert ask(platform, "SELECT 1 AS one") == [{"one": 1}]


def test_a_short_name_that_two_tables_share_is_not_guessed(platform: Platform) -> None:
    other = StreamName("税务局", "tax", "main.enterprise")
    for number, stream in enumerate((STREAM, other)):
        platform.apply(stream, [batch(1, [("r", row_of(number))])])
    with pytest.raises(QueryRefused, match=r"税务局\.tax\.main"):
        ask(platform, "SELECT * FROM enterprise")
    assert ask(platform, 'SELECT id FROM "税务局.tax.main"."enterprise"') == [{"id": 1}]


@pytest.mark.parametrize(
    "query",
    [
        "selec 1",
        "SELECT * FROM nowhere",
        "SELECT nothing FROM enterprise",
        "SELECT 1; SELECT 2",
        "",
        "DELETE FROM enterprise",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "CREATE TABLE t AS SELECT 1",
        "ATTACH '{folder}/x.db'",
        "SET memory_limit = '1TB'",
        "SELECT * FROM read_text('{folder}/secret')",
        "SELECT * FROM read_csv('{folder}/secret')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM platform",
        "SELECT 1 / 'x'::INTEGER FROM enterprise",
    ],
)
def test_sql_refuses_what_is_not_one_sound_select_over_the_tables(
    platform: Platform, query: str, tmp_path: Path
) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1))])])
    (tmp_path / "secret").write_text("secret")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(QueryRefused):
        ask(platform, query.replace("{folder}", str(tmp_path)))
    assert sorted(tmp_path.iterdir()) == before
    assert mirror(platform) == [row_of(1)]


def test_an_answer_that_is_being_read_stays_what_it_was(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(10)])])
    answer = platform.sql("SELECT id FROM enterprise")
    reading = platform.read(STREAM)
    for seq in range(2, 10):
        platform.apply(STREAM, [batch(seq, [("d", {"id": seq})])])
        platform.maintain(STREAM)
    assert sorted(answer.read_all().column("id").to_pylist()) == list(range(10))
    assert len(list(reading)) <= 10


_FOREIGN = """
import json, sys
from pyiceberg.catalog.sql import SqlCatalog
catalog = SqlCatalog("forebay", uri="sqlite:///" + sys.argv[1] + "/catalog.db")
found = {}
for name in ("enterprise", "enterprise_changes"):
    rows = catalog.load_table(("市监局", "enterprise-db", "main", name)).scan().to_arrow()
    found[name] = [[str(value) for value in row.values()] for row in rows.select(["id", "name", "capital", "_seq"]).to_pylist()]
catalog.close()
print(json.dumps(found))
"""


def test_a_foreign_reader_sees_the_same_rows_before_and_after_compaction(platform: Platform, tmp_path: Path) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(40)])])
    for seq in range(2, 12):
        platform.apply(
            STREAM, [batch(seq, [("u", row_of(seq, "乙")), ("d", row_of(seq + 20)), ("c", row_of(seq + 100))])]
        )

    def foreign() -> dict[str, list[list[str]]]:
        program = [sys.executable, "-I", "-c", _FOREIGN, str(tmp_path / "platform")]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        found: dict[str, list[list[str]]] = json.loads(done.stdout)
        return {name: sorted(rows) for name, rows in found.items()}

    before = foreign()
    ours = {
        name: sorted(
            [str(value) for value in row.values()]
            for row in ask(platform, f"SELECT id, name, capital, _seq FROM {name}")
        )
        for name in ("enterprise", "enterprise_changes")
    }
    assert before == ours
    assert [len(before[name]) for name in ("enterprise", "enterprise_changes")] == [40, 70]
    files = sum(table.files for table in platform.tables())
    assert compact(platform) > 0
    assert sum(table.files for table in platform.tables()) < files
    assert foreign() == before
    assert platform.mark(STREAM) == PlatformMark(1, 11)


def test_the_table_keeps_the_columns_own_description(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1))], ENTERPRISE)])
    columns = ask(platform, "SELECT column_name FROM (DESCRIBE enterprise)")
    assert [row["column_name"] for row in columns] == [
        "id",
        "name",
        "capital",
        "_position",
        "_committed_at",
        "_epoch",
        "_seq",
    ]


def test_read_since_a_mark_gives_what_later_batches_told_and_nothing_before(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1)), ("r", row_of(2))]), batch(2, [("u", row_of(1))])])
    platform.apply(STREAM, [batch(3, [("d", {"id": 2})]), batch(4, [("c", row_of(3))])])

    def told(epoch: int, seq: int) -> list[int]:
        rows = platform.read(STREAM, ["id"], since=PlatformMark(epoch, seq))
        return sorted(number for each in rows for number in each.column("id").to_pylist())

    assert told(0, 0) == [1, 1, 2, 2, 3]
    assert told(1, 1) == [1, 2, 3]
    assert told(1, 2) == [2, 3]
    assert told(1, 3) == [3]
    assert told(1, 4) == []
    assert told(2, 0) == []
    compact(platform)
    assert told(1, 2) == [2, 3]
    platform.apply(STREAM, [batch(1, [("r", row_of(7))], epoch=2)])
    assert told(1, 4) == [7]
    assert told(1, 3) == [3, 7]
