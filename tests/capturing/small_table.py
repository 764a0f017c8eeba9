"""A table of four columns and two rows, and its rows as a platform shows them."""

from __future__ import annotations

from typing import Any, Final

from tests.contract.harness import SourceHarness

ALL: Final = ["id", "v", "n", "extra"]
SOME: Final = ["id", "v", "n"]


def fill(harness: SourceHarness, *, table: str = "t") -> None:
    harness.execute(
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, v VARCHAR(20), n INTEGER NOT NULL, extra VARCHAR(20))",
        f"INSERT INTO {table} VALUES (1, 'a', 1, 'x1'), (2, 'b', 2, 'x2')",
    )


def image(number: int, letter: str, extra: str | None = "") -> dict[str, Any]:
    whole = {"id": number, "v": letter, "n": number}
    return whole if extra == "" else whole | {"extra": extra}
