"""What the documents say of offers and commands is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from forebay_agent.config import tightening
from forebay_wire.v1 import control_pb2

DOCS = Path(__file__).parents[2] / "docs"


def first_cells(file: str) -> set[str]:
    """What stands in backquotes in the first cell of each table row."""
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / file).read_text("utf-8"), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_setting_that_may_be_offered_is_documented_and_no_other() -> None:
    table = "source.NAME.table.TABLE."
    expected = {
        *tightening.OF_AGENT,
        *(f"collector.{name}" for name in tightening.OF_COLLECTOR),
        *(f"source.NAME.{name}" for name in tightening.OF_SOURCE),
        *(f"{table}{name}" for name in tightening.OF_TABLE),
        f"{table}{tightening.MASKS}.COLUMN",
        f"{table}{tightening.EXCLUDE}",
    }
    assert first_cells("offers.md") == expected


def test_every_command_is_documented_and_no_other() -> None:
    kinds = {field.name for field in control_pb2.Command.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert first_cells("commands.md") == kinds
