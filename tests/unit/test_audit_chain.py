"""The audit's chain: whatever is done to its entries outside the collector is found, and the entry is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from forebay_collector.ledger import Ledger, chain, tables
from forebay_collector.ledger.verdict import AuditVerdict, judge
from forebay_wire.digest import GENESIS
from tests.accounts.audit import COLUMNS, ENTRIES, Clock, altered, dump, fill, put, rechain, rewrite, run

CELLS = [(number, column) for number in range(1, ENTRIES + 1) for column in COLUMNS]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One ledger for tests that put back what they altered."""
    opened = Ledger.open(tmp_path_factory.mktemp("audit") / "ledger.db", Clock())
    fill(opened)
    yield opened
    opened.close()


def test_an_unaltered_chain_holds(whole: Ledger) -> None:
    verdict = whole.audit.verify()
    assert (verdict.ok, verdict.entries, verdict.first_bad_id, verdict.reason) == (True, ENTRIES, 0, "")
    assert verdict.head.entries == ENTRIES
    assert verdict.head.digest == whole.audit.listing(limit=1)[0].digest
    assert whole.audit.verify((ENTRIES, verdict.head.digest)).ok


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


def test_no_other_cut_of_the_same_characters_has_the_same_digest() -> None:
    entry = {"id": 1, "at": 12, "subject": "", "why": "", "detail": "{}", "department": "", "who": "", "action": ""}
    cuts = [("1", "2t3"), ("1t2", "3"), ("1t2t3", ""), ("", "1t2t3"), ("1", "2\0t3"), ("1\0", "2t3")]
    digests = {chain.digest_of({**entry, "who": who, "action": action}, GENESIS) for who, action in cuts}
    digests |= {chain.digest_of({**entry, "at": at, "id": number}, GENESIS) for number, at in ((1, 12), (11, 2))}
    assert len(digests) == len(cuts) + 2


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
    for values in (
        {"why": "nothing happened"},
        {"previous": bytes(range(32))},
        {"at": 1, "previous": bytes(range(32))},
    ):
        verdict = altered(whole, rewrite(number, **values))
        assert (verdict.ok, verdict.first_bad_id) == (False, number), values


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
