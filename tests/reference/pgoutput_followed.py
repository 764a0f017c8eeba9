"""The kernel with one table that it follows, and its comparison with the reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from forebay_agent.kernel import pgoutput as kernel
from forebay_agent.kernel.pgoutput import LogScanner, TableDecoder
from tests.reference.pgoutput import Decoder, Malformed, Table, plain_rows
from tests.reference.pgoutput_messages import begin, commit, relation

T = 16_384
FINAL, END = 0x16B3748, 0x16B3778
TIME = 700_000_000_000_000
AT = datetime(2022, 3, 7, 20, 26, 40, tzinfo=UTC)
PLAIN = pa.schema([("id", pa.int64()), ("s", pa.string()), ("n", pa.int32())])


@dataclass
class Followed:
    """A scanner with table T, and what has come from it."""

    schema: pa.Schema = field(default_factory=lambda: PLAIN)
    keys: Sequence[int] = (0,)
    scanner: LogScanner = field(default_factory=LogScanner)

    def __post_init__(self) -> None:
        count = len(self.schema)
        self.decoder = TableDecoder(self.schema, range(count), count, self.keys)
        self.scanner.register(relation(T, self.schema.names, self.keys), self.decoder)

    def feed(self, *messages: bytes) -> int:
        outcome = kernel.WAITING
        for message in messages:
            outcome = self.scanner.feed(message, 0x1234)
        return outcome

    def rows(self, *changes: bytes) -> list[dict[str, Any]]:
        """What one transaction with these changes comes to."""
        self.feed(begin(FINAL, TIME), *changes, commit(FINAL, END, TIME))
        batch = self.decoder.take()
        batch.validate(full=True)
        rows: list[dict[str, Any]] = batch.to_pylist()
        return rows


def short(rows: Iterable[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(*list(row.values())[:-4], row["_op"], row["_absent"]) for row in rows]


def both(schema: pa.Schema, keys: Sequence[int], messages: Iterable[bytes]) -> None:
    """Feeds kernel and reference; they must agree on each message and every row."""
    followed = Followed(schema, keys)
    table = Table(schema, list(range(len(schema))), len(schema), list(keys), [0] * len(schema))
    reference = Decoder({T: (relation(T, schema.names, keys), table)})
    for message in messages:
        refused = handled = outcome = None
        try:
            handled = reference.feed(message)
        except Malformed as error:
            refused = error
        try:
            outcome = followed.scanner.feed(message)
        except ValueError as error:
            if refused is None:
                raise AssertionError(f"the reference reads {message!r}") from error
            break
        assert refused is None, refused
        assert (outcome == kernel.MESSAGE) == (not handled), message
        assert followed.decoder.unfit == table.unfit
        if outcome == kernel.UNFIT:
            _same_rows(followed.decoder, table)
    _same_rows(followed.decoder, table)
    assert followed.scanner.open == (reference.transaction is not None)
    assert (followed.scanner.transactions, followed.scanner.commit_end) == (
        reference.transactions,
        reference.commit_end,
    )


def _same_rows(decoder: TableDecoder, table: Table) -> None:
    batch = decoder.take()
    batch.validate(full=pa.string() not in table.schema.types)  # that text is UTF-8 is the server's promise
    assert plain_rows([batch]) == table.rows
    table.rows.clear()
    table.unfit = None
