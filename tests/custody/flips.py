"""One flipped bit, anywhere that a batch is kept: in its object, in a column of its row, in the audit, in the marks."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Flip:
    """where: as people read it. batch: the (epoch, seq) that it struck, None for what is no batch's. undo: puts it back."""

    where: str
    batch: tuple[int, int] | None
    undo: Callable[[], None] = field(compare=False, repr=False)


def flip_file(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def flip_value(value: Any, chance: random.Random) -> Any:
    """The value with one of its bits flipped, as it would stand in the file."""
    if isinstance(value, int):
        return value ^ (1 << chance.randrange(max(8, value.bit_length() + 1)))
    content = bytearray(value if isinstance(value, bytes) else value.encode())
    bit = chance.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    return bytes(content)


def flip_column(ledger: Path, table: str, column: str, chance: random.Random) -> Flip:
    """Flips a bit of one row's column, behind the collector's back. Empty values are left: they have no bits."""
    with closing(sqlite3.connect(ledger)) as connection:
        described = connection.execute(f"PRAGMA table_info({table})").fetchall()
        keys = [row[1] for row in described if row[5]]
        place = ["epoch", "seq"] if {"epoch", "seq"} <= {row[1] for row in described} else []
        listed = ", ".join([*place, *keys])
        rows = connection.execute(f"SELECT {listed}, {column} FROM {table} WHERE length({column}) > 0").fetchall()
    while True:
        with suppress(sqlite3.IntegrityError):  # there is another row under that key: another bit
            return _flip(ledger, table, column, keys, chance.choice(rows), chance)


def _flip(ledger: Path, table: str, column: str, keys: list[str], row: Any, chance: random.Random) -> Flip:
    key, value = row[-1 - len(keys) : -1], row[-1]
    batch = (row[0], row[1]) if len(row) > len(keys) + 1 else None
    new = flip_value(value, chance)
    # what was text stays text, though it may be no UTF-8 any more
    put = "CAST(? AS TEXT)" if isinstance(value, str) else "?"
    update = f"UPDATE {table} SET {column} = {put} WHERE " + " AND ".join(
        f"CAST({name} AS BLOB) = CAST(? AS BLOB)" for name in keys
    )

    def write(content: Any, where: list[Any]) -> None:
        with closing(sqlite3.connect(ledger)) as connection, connection:
            # no trigger sees a bit that the disk turns
            triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            assert connection.execute(update, (content, *where)).rowcount == 1
            for _, made in triggers:
                connection.execute(made)

    write(new, list(key))
    now = [new if name == column else part for name, part in zip(keys, key, strict=True)]
    told = dict(zip(keys, key, strict=True))
    return Flip(f"{table}.{column} of {told}: {value!r} -> {new!r}", batch, lambda: write(value, now))
