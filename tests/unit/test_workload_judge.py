"""The judges of the workloads can fail: what they exist to find, they find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from forebay_collector.demo.processes import DemoFailed
from tests.workloads import evidence, histories
from tests.workloads.ddl import judge, tables
from tests.workloads.ddl.tables import Column, Naming, Table, Write
from tests.workloads.evidence import Change, Plain
from tests.workloads.site import Site


def change(op: str, position: int, *, epoch: int = 1, absent: Sequence[str] = (), **values: Plain) -> Change:
    return Change(epoch, op, f"0/{position:X}" if op != "r" else "snapshot:1:[]", frozenset(absent), values)


def judged(monkeypatch: pytest.MonkeyPatch, table: Table, *changes: Change) -> str:
    monkeypatch.setattr(evidence, "history", lambda *_: list(changes))
    site = Site.__new__(Site)
    site.data = Path()
    return "; ".join(judge.judge(site, table).wrong)


@pytest.fixture
def table() -> Table:
    """Key 1: inserted with a = 10, b = 20; then the two columns swapped names; then a (once b) became 30; then deleted."""
    a, b = (
        Column(tables.INT, [Naming("a", 1, 6), Naming("b", 5)]),
        Column(tables.INT, [Naming("b", 1, 6), Naming("a", 5)]),
    )
    writes = [
        Write("c", 1, 101, 2, 3, {"a": 10, "b": 20}),
        Write("u", 1, 102, 7, 8, {"a": 30}),
        Write("d", 1, 0, 9, 9, {}),
    ]
    return Table("s", "t", columns=[a, b], writes={1: writes})


INSERTED = change("c", 1, id=1, stamp=101, a=10, b=20)
UPDATED = change("u", 2, epoch=2, id=1, stamp=102, a=30, b=10)
DELETED = change("d", 3, epoch=2, id=1, stamp=None, a=None, b=None)


def test_what_was_written_is_not_called_wrong(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    assert judged(monkeypatch, table, INSERTED, UPDATED, DELETED) == ""


def test_values_under_each_others_names_are_found(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    swapped = change("u", 2, epoch=2, id=1, stamp=102, a=10, b=30)
    assert "column a holds '10'" in judged(monkeypatch, table, INSERTED, swapped)


def test_an_image_that_was_never_committed_is_found(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    rolled_back = change("u", 2, epoch=2, id=1, stamp=999, a=30, b=10)
    assert "no such image was ever committed" in judged(monkeypatch, table, INSERTED, rolled_back)


def test_a_change_that_is_lost_within_an_epoch_is_found(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    lost = change("d", 3, id=1, stamp=None, a=None, b=None)
    assert "no such delete" in judged(monkeypatch, table, INSERTED, lost)


def test_a_change_that_is_told_twice_is_found(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    assert "without having gone on" in judged(monkeypatch, table, INSERTED, INSERTED)


def test_a_copied_row_that_goes_back_in_time_is_found(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    older = change("r", 0, epoch=2, id=1, stamp=101, a=20, b=10)
    assert "copied after the log told" in judged(monkeypatch, table, UPDATED, older)


def test_a_value_that_became_null_is_found(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    other = Write("c", 2, 103, 7, 8, {"a": 40, "b": 50})
    table.writes[2] = [other]
    empty = change("c", 3, epoch=2, id=2, stamp=103, a=None, b=50)
    assert "column a holds 'None'" in judged(monkeypatch, table, UPDATED, empty)


def test_a_column_that_is_not_captured_is_found(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    table.excluded = frozenset({"b"})
    assert "not captured" in judged(monkeypatch, table, INSERTED)


def keyless(changes: Sequence[Change], source: Sequence[int]) -> None:
    histories.keyless("s.t", changes, ["n"], [(number,) for number in source], writers=1)


def test_a_table_without_a_key_may_hold_twice_only_what_changed_while_its_copy_began() -> None:
    copied = [change("r", 0, n=1), change("r", 0, n=2), change("r", 0, n=3)]
    keyless([change("c", 1, n=2), change("c", 2, n=3), *copied, change("c", 3, n=4)], [1, 2, 3, 4])
    with pytest.raises(DemoFailed, match="too often"):
        keyless([change("c", 1, n=3), *copied, change("c", 2, n=3), change("c", 3, n=4)], [1, 2, 3, 4])
    with pytest.raises(DemoFailed, match="missing"):
        keyless([*copied, change("c", 3, n=4)], [1, 2, 3, 4, 5])
    early = [change("c", number, n=number + 10) for number in range(3)]
    with pytest.raises(DemoFailed, match="not of one moment"):
        keyless([*early, change("c", 4, n=3), *copied], [1, 2, 3, 10, 11, 12])


def test_a_step_that_the_workload_never_takes_breaks_the_chain() -> None:
    def one_more(last: Change | None, now: Change) -> bool:
        return last is None or now.values["n"] == int(last.values["n"] or 0) + 1

    first, second, third = (change("u", number, id=1, n=number) for number in (1, 2, 3))
    assert histories.chain("s.t", [first, second, third], "id", one_more) == 3
    with pytest.raises(DemoFailed, match="does not follow"):
        histories.chain("s.t", [first, third], "id", one_more)
    with pytest.raises(DemoFailed, match="does not follow"):
        histories.chain("s.t", [second, change("r", 0, id=1, n=1)], "id", one_more)


def test_a_change_that_stands_twice_is_refused() -> None:
    histories.refuse_doubled("s.t", [change("u", 1, id=1, n=1), change("u", 1, id=1, n=2)], "id")
    with pytest.raises(DemoFailed, match="twice"):
        histories.refuse_doubled("s.t", [change("u", 1, id=1, n=1), change("u", 1, id=1, n=1)], "id")
