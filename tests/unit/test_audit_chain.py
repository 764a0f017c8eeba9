"""The audit's chain: whatever is done to its entries outside the collector is found, and the entry is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from forebay_collector.errors import LedgerDamaged
from forebay_collector.ledger import Ledger, chain, tables
from forebay_collector.ledger.audit import record
from forebay_collector.ledger.migrate import migrate
from forebay_collector.ledger.retention import SLACK, AuditRetention
from forebay_collector.ledger.verdict import EXPIRED, AuditVerdict, judge
from forebay_wire.digest import GENESIS

ENTRIES = 7
COLUMNS = [column.name for column in tables.audit.columns]
CELLS = [(number, column) for number in range(1, ENTRIES + 1) for column in COLUMNS]
DAY_US = 86_400_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        self.now += 1_000
        return self.now


def fill(ledger: Ledger, count: int = ENTRIES) -> None:
    for number in range(count):
        ledger.audit.add("张三", "replay", f"市监局/企业库/main.t{number} 1/{number}", "改正", {"rows": number})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db", clock)
    fill(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One ledger for tests that put back what they altered."""
    opened = Ledger.open(tmp_path_factory.mktemp("audit") / "ledger.db", Clock())
    fill(opened)
    yield opened
    opened.close()


def altered(
    ledger: Ledger, alter: Callable[[Connection], object], noted: tuple[int, bytes] | None = None
) -> AuditVerdict:
    """The verdict over an altered audit, which is then as it was."""
    with ledger.database.write() as connection:
        before = dump(connection)
        alter(connection)
        verdict = judge(connection, noted)
        changed = dump(connection) != before
        connection.rollback()
    assert changed, "nothing was altered"
    assert ledger.audit.verify().ok
    return verdict


def dump(connection: Connection) -> list[Any]:
    types = ", ".join(f"typeof({name}), CAST({name} AS BLOB)" for name in COLUMNS)
    entries = connection.execute(text(f"SELECT {types} FROM audit ORDER BY id")).all()
    return [*entries, *connection.execute(text("SELECT * FROM audit_head")).all()]


def run(sql: str, **values: object) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(text(sql), values)


def put(number: int, column: str, value: object) -> Callable[[Connection], object]:
    return run(f"UPDATE audit SET {column} = :value WHERE id = :number", value=value, number=number)


def rewrite(number: int, why: str) -> Callable[[Connection], object]:
    """Alters an entry and computes its digest anew, as somebody would who knows how."""

    def do(connection: Connection) -> None:
        row = connection.execute(text("SELECT * FROM audit WHERE id = :id"), {"id": number}).mappings().one()
        digest = chain.digest_of({**row, "why": why}, row["previous"])
        sql = "UPDATE audit SET why = :why, digest = :digest WHERE id = :id"
        connection.execute(text(sql), {"why": why, "digest": digest, "id": number})

    return do


def rechain(connection: Connection) -> None:
    """Computes the whole chain anew, head and all."""
    connection.execute(text("DELETE FROM audit_head"))
    chain.found(connection)


def test_an_unaltered_chain_holds(ledger: Ledger) -> None:
    verdict = ledger.audit.verify()
    assert (verdict.ok, verdict.entries, verdict.first_bad_id, verdict.reason) == (True, ENTRIES, 0, "")
    assert verdict.head.entries == ENTRIES
    assert verdict.head.digest == ledger.audit.listing(limit=1)[0].digest
    assert ledger.audit.verify((ENTRIES, verdict.head.digest)).ok


def test_an_empty_audit_holds(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db")
    assert ledger.audit.verify() == AuditVerdict(True, 0, 0, "", chain.Head())
    ledger.close()


def test_every_column_is_part_of_the_digest() -> None:
    assert set(chain.FIELDS) == set(COLUMNS) - {"previous", "digest"}


_VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.binary(max_size=40),
    st.binary(min_size=32, max_size=32),
    st.floats(allow_nan=False),
)


@pytest.mark.parametrize(("number", "column"), CELLS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=_VALUES)
def test_altering_any_one_field_of_any_one_entry_is_found_and_the_entry_named(
    whole: Ledger, number: int, column: str, value: object
) -> None:
    with whole.database.read() as connection:
        query = text(f"SELECT typeof({column}), {column} FROM audit WHERE id = :id")
        kind, old = connection.execute(query, {"id": number}).one()
        taken = set(connection.execute(text("SELECT id FROM audit")).scalars())
        # what the column makes of the value, which may be what it was
        probe = connection.execute(text("SELECT typeof(:v), :v"), {"v": value}).one()
    if column == "id" and (not isinstance(value, int) or value in taken):
        value = ENTRIES + 1 + number if not isinstance(value, int) or value > 0 else value - ENTRIES
    elif tuple(probe) == (kind, old):
        return
    with whole.database.write() as connection:
        before = dump(connection)
        put(number, column, value)(connection)
        same, verdict = dump(connection) == before, judge(connection)
        connection.rollback()
    if same:  # the column's affinity turned it into what was there
        assert verdict.ok
        return
    assert not verdict.ok
    expected = min(number, int(str(value))) if column == "id" else number
    assert verdict.first_bad_id == expected, verdict.reason
    assert verdict.reason


@pytest.mark.parametrize("number", range(1, ENTRIES + 1))
@pytest.mark.parametrize("column", ["who", "action", "subject", "why", "detail"])
def test_the_smallest_alterations_of_a_text_are_found(whole: Ledger, number: int, column: str) -> None:
    for sql in (
        f"UPDATE audit SET {column} = {column} || ' ' WHERE id = :n",
        f"UPDATE audit SET {column} = CAST({column} AS BLOB) WHERE id = :n",
        f"UPDATE audit SET {column} = CAST(x'ff' AS TEXT) WHERE id = :n",
        f"UPDATE audit SET {column} = substr({column}, 2) WHERE id = :n",
    ):
        assert altered(whole, run(sql, n=number)).first_bad_id == number


def test_moving_a_character_from_one_field_to_the_next_is_found(whole: Ledger) -> None:
    verdict = altered(whole, run("UPDATE audit SET who = '张', action = '三' || action WHERE id = 3"))
    assert verdict.first_bad_id == 3


@pytest.mark.parametrize("number", range(1, ENTRIES + 1))
def test_a_removed_entry_is_named(whole: Ledger, number: int) -> None:
    verdict = altered(whole, run("DELETE FROM audit WHERE id = :n", n=number))
    assert (verdict.ok, verdict.first_bad_id) == (False, number)
    assert "missing" in verdict.reason


@pytest.mark.parametrize("number", range(1, ENTRIES))
def test_a_removed_entry_is_named_though_those_behind_it_close_up(whole: Ledger, number: int) -> None:
    def remove(connection: Connection) -> None:
        run("DELETE FROM audit WHERE id = :n", n=number)(connection)
        for later in range(number + 1, ENTRIES + 1):
            put(later, "id", later - 1)(connection)

    assert altered(whole, remove).first_bad_id == number


@pytest.mark.parametrize("first", range(2, ENTRIES + 1))
def test_entries_cut_off_at_the_end_are_missed(whole: Ledger, first: int) -> None:
    verdict = altered(whole, run("DELETE FROM audit WHERE id >= :n", n=first))
    assert (verdict.ok, verdict.first_bad_id) == (False, first)
    assert altered(whole, run("DELETE FROM audit")).first_bad_id == 1


def test_entries_cut_off_together_with_the_head_are_missed_by_who_noted_the_head(whole: Ledger) -> None:
    def cut(connection: Connection) -> None:
        run("DELETE FROM audit WHERE id >= 6")(connection)
        rechain(connection)

    noted = (ENTRIES, whole.audit.verify().head.digest)
    assert altered(whole, cut).ok, "the ledger alone cannot tell"
    verdict = altered(whole, cut, noted)
    assert (verdict.ok, verdict.first_bad_id) == (False, 6)


@pytest.mark.parametrize("number", range(1, ENTRIES + 1))
@pytest.mark.parametrize("fits", [True, False])
def test_an_entry_that_was_inserted_is_named(whole: Ledger, number: int, fits: bool) -> None:
    def insert(connection: Connection) -> None:
        for later in range(ENTRIES, number - 1, -1):
            put(later, "id", later + 1)(connection)
        query = text("SELECT digest FROM audit WHERE id = :id")
        previous = connection.execute(query, {"id": number - 1}).scalar_one_or_none() or GENESIS
        entry = {"id": number, "at": 1, "who": "x", "action": "x", "subject": "x", "why": "", "detail": "{}"}
        entry |= {"department": ""}
        digest = chain.digest_of(entry, previous) if fits else bytes(32)
        connection.execute(tables.audit.insert().values(**entry, previous=previous, digest=digest))

    verdict = altered(whole, insert)
    assert (verdict.ok, verdict.first_bad_id) == (False, number)


@pytest.mark.parametrize("number", [-5, 0, ENTRIES + 1, ENTRIES + 9])
def test_an_entry_that_was_added_before_or_behind_all_is_named(whole: Ledger, number: int) -> None:
    def add(connection: Connection) -> None:
        entry = {"id": number, "at": 1, "who": "x", "action": "x", "subject": "x", "why": "", "department": ""}
        entry |= {"detail": "{}"}
        previous = whole.audit.verify().head.digest if number == ENTRIES + 1 else GENESIS
        digest = chain.digest_of(entry, previous)
        connection.execute(tables.audit.insert().values(**entry, previous=previous, digest=digest))

    assert altered(whole, add).first_bad_id == number


@pytest.mark.parametrize("one", range(1, ENTRIES + 1))
@pytest.mark.parametrize("other", range(1, ENTRIES + 1))
def test_two_entries_that_changed_places_are_found(whole: Ledger, one: int, other: int) -> None:
    if one >= other:
        return

    def swap(connection: Connection) -> None:
        put(one, "id", 1_000)(connection)
        put(other, "id", one)(connection)
        put(1_000, "id", other)(connection)

    assert altered(whole, swap).first_bad_id == one


@pytest.mark.parametrize("number", range(1, ENTRIES + 1))
def test_an_entry_altered_together_with_its_digest_is_named(whole: Ledger, number: int) -> None:
    verdict = altered(whole, rewrite(number, "nothing happened"))
    assert (verdict.ok, verdict.first_bad_id) == (False, number)


def test_a_chain_that_was_computed_anew_is_found_by_who_noted_a_head(whole: Ledger) -> None:
    noted = {entry.id: entry.digest for entry in whole.audit.listing()}

    def forge(connection: Connection) -> None:
        put(4, "who", "somebody else")(connection)
        rechain(connection)

    assert altered(whole, forge).ok, "the ledger alone cannot tell"
    for number, digest in noted.items():
        verdict = altered(whole, forge, (number, digest))
        assert verdict.ok == (number < 4), "what was noted before the forged entry cannot show it"
        assert verdict.first_bad_id == (0 if number < 4 else number)


@pytest.mark.parametrize(
    ("sql", "first_bad"),
    [
        ("UPDATE audit_head SET entries = entries + 1", ENTRIES + 1),
        ("UPDATE audit_head SET entries = entries - 1", ENTRIES),
        ("UPDATE audit_head SET digest = x'00'", ENTRIES),
        ("UPDATE audit_head SET expired = 1", 1),
        ("UPDATE audit_head SET anchor = x'01'", 1),
        ("DELETE FROM audit_head", 1),
    ],
)
def test_an_altered_head_is_found(whole: Ledger, sql: str, first_bad: int) -> None:
    verdict = altered(whole, run(sql))
    assert (verdict.ok, verdict.first_bad_id) == (False, first_bad), verdict.reason


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_done_to_the_table_without_the_digests_is_found(whole: Ledger, data: st.DataObject) -> None:
    numbers = st.integers(1, ENTRIES)
    texts = st.sampled_from(["who", "action", "subject", "why", "detail"])
    with whole.database.write() as connection:
        before = dump(connection)
        for _ in range(data.draw(st.integers(1, 4))):
            match data.draw(st.sampled_from(["delete", "text", "at", "copy", "link"])):
                case "delete":
                    run("DELETE FROM audit WHERE id = :n", n=data.draw(numbers))(connection)
                case "text":
                    put(data.draw(numbers), data.draw(texts), data.draw(st.text("ab\u5f20{}", max_size=3)))(connection)
                case "at":
                    put(data.draw(numbers), "at", data.draw(st.integers(0, 2**62)))(connection)
                case "copy":
                    columns = "at, who, action, subject, why, detail, department, previous, digest"
                    sql = f"INSERT OR REPLACE INTO audit (id, {columns}) SELECT :n, {columns} FROM audit WHERE id = :m"
                    run(sql, n=data.draw(st.integers(0, ENTRIES + 2)), m=data.draw(numbers))(connection)
                case "link":
                    put(data.draw(numbers), "previous", data.draw(st.binary(min_size=32, max_size=32)))(connection)
        same, verdict = dump(connection) == before, judge(connection)
        connection.rollback()
    assert verdict.ok == same


def test_an_entry_undone_with_its_deed_leaves_no_gap(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.database.write() as connection:
            record(connection, 1, "x", "x", "x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    fill(ledger, 1)
    assert ledger.audit.verify().ok
    assert [entry.id for entry in ledger.audit.listing()] == list(range(ENTRIES + 1, 0, -1))


def test_nothing_is_done_unrecorded_when_the_head_is_gone(ledger: Ledger) -> None:
    with ledger.database.write() as connection:
        connection.execute(text("DELETE FROM audit_head"))
    with pytest.raises(LedgerDamaged):
        fill(ledger, 1)
    assert len(ledger.audit.listing()) == ENTRIES


def test_text_that_no_database_stores_is_recorded_all_the_same(ledger: Ledger) -> None:
    ledger.audit.add("half \ud800", "a\0b", "s", "w\udfff", {"k\ud800": "v\0"})
    entry = ledger.audit.listing(limit=1)[0]
    assert (entry.who, entry.action, entry.why, entry.detail) == ("half ?", "a\ufffdb", "w?", {"k?": "v\0"})
    assert ledger.audit.verify().ok


def test_entries_of_a_ledger_without_a_chain_are_chained_when_it_is_migrated(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db", clock)
    migrate(ledger.database, 2)
    with ledger.database.write() as connection:
        for number in (3, 5, 9):  # ids with gaps, as a sequence makes them
            sql = "INSERT INTO audit VALUES (:n, :n, '李四', 'discard', 's', 'why', '{\"a\": 1}')"
            connection.execute(text(sql), {"n": number})
    migrate(ledger.database)
    verdict = ledger.audit.verify()
    assert (verdict.ok, verdict.entries, verdict.head.entries) == (True, 3, 3)
    assert [(entry.id, entry.at, entry.detail) for entry in ledger.audit.listing()] == [
        (3, 9, {"a": 1}),
        (2, 5, {"a": 1}),
        (1, 3, {"a": 1}),
    ]
    fill(ledger, 1)
    assert ledger.audit.verify().ok
    ledger.close()


def test_only_the_oldest_entries_expire_and_the_chain_holds_on(ledger: Ledger, clock: Clock) -> None:
    clock.now += 200 * DAY_US
    fill(ledger, 3)
    noted = {entry.id: entry.digest for entry in ledger.audit.listing()}
    assert not AuditRetention(ledger, timedelta(days=180)).step()
    entries = ledger.audit.listing()
    assert [entry.id for entry in entries] == [11, 10, 9, 8]
    assert (entries[0].action, entries[0].who) == (EXPIRED, "retention")
    verdict = ledger.audit.verify()
    assert (verdict.ok, verdict.entries, verdict.head.expired, verdict.head.anchor) == (True, 4, 7, noted[7])
    assert ledger.audit.verify((7, noted[7])).ok, "the anchor itself can be compared"
    assert ledger.audit.verify((8, noted[8])).ok
    assert not ledger.audit.verify((7, noted[6])).ok
    old = ledger.audit.verify((3, noted[3]))
    assert old.ok
    assert "expired" in old.reason
    for sql in (
        "DELETE FROM audit WHERE id = 8",
        "UPDATE audit_head SET expired = 6",
        "UPDATE audit_head SET anchor = x'00'",
        "UPDATE audit SET why = 'x' WHERE id = 8",
    ):
        assert not altered(ledger, run(sql)).ok


def test_a_beginning_removed_by_hand_is_found_though_the_anchor_was_moved(ledger: Ledger) -> None:
    def remove(connection: Connection) -> None:
        digest = connection.execute(text("SELECT digest FROM audit WHERE id = 3")).scalar_one()
        run("DELETE FROM audit WHERE id <= 3")(connection)
        run("UPDATE audit_head SET expired = 3, anchor = :digest", digest=digest)(connection)

    verdict = altered(ledger, remove)
    assert (verdict.ok, verdict.first_bad_id) == (False, 3)
    assert "no entry says" in verdict.reason


def test_all_may_expire_and_the_chain_goes_on_behind(ledger: Ledger, clock: Clock) -> None:
    keeping = AuditRetention(ledger, timedelta(days=180))
    for round_ in range(3):
        clock.now += 400 * DAY_US
        keeping.step()
        assert [entry.action for entry in ledger.audit.listing()] == [EXPIRED], round_
        assert ledger.audit.verify().ok
    assert ledger.audit.verify().head.entries == ENTRIES + 3


def test_an_old_entry_behind_a_younger_one_stays(ledger: Ledger, clock: Clock) -> None:
    with ledger.database.write() as connection:
        record(connection, clock.now + 300 * DAY_US, "x", "clock ran ahead", "x")
    fill(ledger, 2)
    clock.now += 200 * DAY_US
    AuditRetention(ledger, timedelta(days=180)).step()
    assert [entry.id for entry in ledger.audit.listing()] == [11, 10, 9, 8]
    assert ledger.audit.verify().ok


def test_retention_acts_once_a_day_at_most(ledger: Ledger, clock: Clock) -> None:
    keeping = AuditRetention(ledger, timedelta(days=180))
    oldest = ledger.audit.oldest()
    assert oldest is not None
    clock.now = oldest + 180 * DAY_US + SLACK // timedelta(microseconds=1) - 10_000
    keeping.step()
    assert len(ledger.audit.listing()) == ENTRIES
    clock.now += 20_000
    keeping.step()
    assert [entry.action for entry in ledger.audit.listing()] == [EXPIRED]


def test_an_entry_knows_whose_matter_it_is(ledger: Ledger) -> None:
    with ledger.database.write() as connection:
        values = {"department": "民政局", "serial": "", "expires_at": 0, "enrolled_at": 0, "revoked_at": 0}
        values |= {"last_seen_at": 0, "version": "", "hostname": "", "instance": "", "health": "{}"}
        rest = {column.name: 0 for column in tables.agent.columns if column.name not in (*values, "name")}
        rest |= {name: "[]" for name in rest if str(tables.agent.c[name].type) == "TEXT"}
        connection.execute(tables.agent.insert().values(name="mzj-01", **values, **rest))
        record(connection, 1, "x", "revoke", "mzj-01")
        record(connection, 1, "x", "replay", "市监局/企业库/main.t 1/7")
        record(connection, 1, "x", "token", "new-01", detail={"department": "公安局"})
        record(connection, 1, "x", "account", "zhang")
        record(connection, 1, "x", "account", "mzj-01", department="")
    found = [entry.department for entry in ledger.audit.listing(limit=5)]
    assert found == ["", "", "公安局", "市监局", "民政局"]
    assert len(ledger.audit.listing(departments=frozenset({"民政局", "公安局"}))) == 2
    assert ledger.audit.listing(departments=frozenset()) == []
