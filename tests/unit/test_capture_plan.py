"""From configuration to capture: what is read, and what is refused before anything is read."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay_agent import errors
from forebay_agent.capture.plan import describe, open_capture
from forebay_agent.capture.sources import DIALECTS, open_source
from forebay_agent.config.model import MaskConfig, TableConfig
from tests.contract.harness import SourceHarness


@pytest.fixture
def harness(sqlite_harness: SourceHarness) -> SourceHarness:
    sqlite_harness.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, phone TEXT, at DATETIME, raw BLOB, _op TEXT)",
        "CREATE TABLE keyless (name TEXT, at DATETIME)",
    )
    return sqlite_harness


def test_only_the_columns_that_are_named_are_selected(harness: SourceHarness) -> None:
    source = harness.open()
    named = describe(source, TableConfig("t", mode="snapshot", columns=("name", "id")))
    assert [column.name for column in named.columns] == ["id", "name"]
    rest = describe(source, TableConfig("t", mode="snapshot", exclude=("_op", "phone")))
    assert [column.name for column in rest.columns] == ["id", "name", "at", "raw"]


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (TableConfig("none"), errors.TableMissing),
        (TableConfig("t", mode="cursor", exclude=("_op",)), errors.TableMisconfigured),
        (TableConfig("t", mode="stream", exclude=("_op",)), errors.TableMisconfigured),
        (TableConfig("t", mode="snapshot"), errors.TableMisconfigured),
        (TableConfig("t", mode="snapshot", exclude=("_op", "nothing")), errors.ColumnMissing),
        (TableConfig("t", mode="cursor", cursor="when", exclude=("_op",)), errors.ColumnMissing),
        (TableConfig("t", mode="snapshot", key=("no",), exclude=("_op",)), errors.ColumnMissing),
        (TableConfig("t", mode="snapshot", masks=(MaskConfig("no", "name"),), exclude=("_op",)), errors.ColumnMissing),
        (TableConfig("keyless", mode="cursor", cursor="at"), errors.KeyMissing),
        (TableConfig("keyless", mode="trigger"), errors.KeyMissing),
        (TableConfig("t", mode="snapshot", columns=("name",)), errors.TableMisconfigured),
        (TableConfig("t", mode="cursor", cursor="at", columns=("id", "name")), errors.TableMisconfigured),
        (
            TableConfig("t", mode="snapshot", masks=(MaskConfig("id", "citizen_id"),), exclude=("_op",)),
            errors.TableMisconfigured,
        ),
        (
            TableConfig("t", mode="cursor", cursor="id", overlap=timedelta(seconds=5), exclude=("_op",)),
            errors.TableMisconfigured,
        ),
        (TableConfig("t", mode="cursor", cursor="raw", overlap=5, exclude=("_op",)), errors.TableMisconfigured),
    ],
)
def test_what_cannot_be_captured_is_refused_with_its_kind(
    harness: SourceHarness, table: TableConfig, kind: type[errors.AgentError]
) -> None:
    with pytest.raises(kind):
        describe(harness.open(), table)


def test_a_mode_that_the_dialect_does_not_offer_is_refused(harness: SourceHarness) -> None:
    class WithoutTriggers:
        """A source that offers reading only."""

        def __init__(self) -> None:
            self._source = harness.open()

        def shape(self, *arguments: object) -> object:
            return self._source.shape(*arguments)  # type: ignore[arg-type]

    source = WithoutTriggers()
    table = TableConfig("t", mode="trigger", exclude=("_op",))
    shape = describe(source, table)  # type: ignore[arg-type]
    with pytest.raises(errors.TableMisconfigured, match="trigger"):
        open_capture(source, shape, table)  # type: ignore[arg-type]


def test_every_kind_of_source_has_its_dialect_and_others_are_refused(harness: SourceHarness) -> None:
    from importlib import import_module

    for package in DIALECTS.values():
        assert callable(import_module(package).open)
    with pytest.raises(errors.ConfigurationError, match="dbase"):
        open_source(harness.config(kind="dbase"))
