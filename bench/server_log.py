"""A server's log as the benchmarks need it: a backlog is written into it, and the server's own reader reads it to nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bench.measure import Account

BIG_COLUMNS: Final = "id, code, amount, at"
"""of the table that one huge transaction fills: 8 + 12 + 8 + 8 bytes of values, about"""

SLOW_ROWS: Final = 30_000
"""of a backlog, for readers that are slow"""


@dataclass(frozen=True, slots=True)
class Other:
    """Another reader of the same log: what it is, and its rows per second."""

    name: str
    rows_per_s: float


class ServerLog(Protocol):
    """Tables are names without their schema; their rows come from `legal_entity`, id by id."""

    @property
    def reader(self) -> str:
        """The server's own reader, in words."""

    def access(self) -> Sequence[str]:
        """Arguments of `bench.writer` that tell it where to write."""

    def make(self, table: str) -> None:
        """An empty table like `legal_entity`."""

    def make_big(self, table: str) -> None:
        """An empty table of BIG_COLUMNS."""

    def mark(self, table: str, readings: int) -> None:
        """From here on is the backlog that `read` will read, so many times."""

    def write(self, table: str, rows: int, each: int) -> int:
        """Inserts rows 1 to `rows`, `each` of them in a transaction. -> bytes of log."""

    def write_big(self, table: str, rows: int) -> int:
        """Inserts so many rows in one transaction. -> bytes of log."""

    def read(self, reading: int) -> Account:
        """The server's own reader, once over the backlog, to nowhere. `reading`: 0 … readings - 1."""

    def read_by_others(self, table: str, rows: int) -> list[Other]:
        """What else decodes this log, all of it or a slice; `rows`: of the backlog; needs a `mark`."""

    def forget(self) -> None:
        """The backlog is of no more use."""


def password_option(secret: Path) -> list[str]:
    return ["--password-file", str(secret)]
